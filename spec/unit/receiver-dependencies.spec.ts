import { readdirSync, readFileSync } from 'node:fs';
import { join, relative, resolve } from 'node:path';
import ts from 'typescript';

const src = resolve(__dirname, '../../src');

/** Everything that loading a file loads, as files below src and names of packages; types are not loaded. */
function loadedBy(entry: string): {
  readonly files: readonly string[];
  readonly packages: readonly string[];
} {
  const files = new Set<string>();
  const packages = new Set<string>();
  const visit = (path: string): void => {
    if (files.has(path)) return;
    files.add(path);
    const code = ts.transpileModule(readFileSync(path, 'utf8'), {
      compilerOptions: { module: ts.ModuleKind.CommonJS, target: ts.ScriptTarget.ES2022 },
    }).outputText;
    for (const [, specifier = ''] of code.matchAll(/require\("([^"]+)"\)/g)) {
      if (specifier.startsWith('.')) visit(resolve(path, '..', specifier) + '.ts');
      else packages.add(specifier);
    }
  };
  visit(join(src, entry));
  return { files: [...files].map(path => relative(src, path)), packages: [...packages] };
}

describe('the receiver kit', () => {
  const { files, packages } = loadedBy('receiver/index.ts');

  it('loads nothing but node', () => {
    expect(packages.length).toBeGreaterThan(0);
    expect(packages.filter(name => !name.startsWith('node:'))).toEqual([]);
  });

  it('loads all of its folder, and few files beside', () => {
    const own = readdirSync(join(src, 'receiver')).map(name => `receiver/${name}`);
    expect(files.filter(file => file.startsWith('receiver/')).sort()).toEqual(own.sort());
    expect(files.filter(file => !file.startsWith('receiver/')).sort()).toEqual([
      'errors.ts',
      'http/webhook-signature.ts',
      'shared/clock.ts',
      'shared/json.ts',
      'shared/secret-format.ts',
    ]);
  });
});
