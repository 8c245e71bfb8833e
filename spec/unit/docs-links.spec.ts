// Holds README.md and docs/*.md against the tree: every relative link leads somewhere, and every test that is named
// as proof, as in [`name`](../spec/….spec.ts) › “its name”, stands in that file.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';

const root = resolve(__dirname, '../..');
const pages = [
  join(root, 'README.md'),
  ...readdirSync(join(root, 'docs'))
    .filter(name => name.endsWith('.md'))
    .map(name => join(root, 'docs', name)),
].filter(existsSync);

const read = (path: string): string => readFileSync(path, 'utf8');
/** Code is no text: it may hold brackets and parentheses of its own. */
const readProse = (path: string): string =>
  read(path)
    .replace(/^(```|~~~)[\s\S]*?^\1/gm, '')
    .replace(/(`+)[^`\n]+\1/g, code => code.replace(/[[\]()]/g, ' '));

interface Link {
  /** File and anchor, as written. */
  readonly target: string;
  readonly path: string;
  readonly anchor: string | undefined;
}

function findLinks(page: string): Link[] {
  return [...readProse(page).matchAll(/\]\(([^)\s]+)(?:\s+"[^"]*")?\)/g)]
    .map(([, target = '']) => target)
    .filter(target => !/^[a-z][a-z0-9+.-]*:/i.test(target))
    .map(target => {
      const [file = '', anchor] = target.split('#');
      return { target, path: file === '' ? page : resolve(dirname(page), file), anchor };
    });
}

/** The anchors that GitHub gives to headings. */
function listAnchors(page: string): Set<string> {
  const headings = [...read(page).matchAll(/^#{1,6} +(.*)$/gm)].map(([, text = '']) => text);
  return new Set(
    headings.map(text =>
      text
        .toLowerCase()
        .replace(/[^\p{L}\p{N} _-]/gu, '')
        .trim()
        .replace(/ /g, '-'),
    ),
  );
}

interface Proof {
  readonly file: string;
  readonly names: readonly string[];
}

function findProofs(page: string): Proof[] {
  return [...read(page).matchAll(/\]\(([^)\s]+\.spec\.ts)\)((?:\s*(?:›|,|and)\s*“[^”]+”)*)/g)].map(
    ([, file = '', names = '']) => ({
      file: resolve(dirname(page), file),
      names: [...names.matchAll(/“([^”]+)”/g)].map(([, name = '']) => name),
    }),
  );
}

/** True when a test or describe of the file has this name, as written there (`%s` included). */
function hasTest(source: string, name: string): boolean {
  return ["'", '"', '`'].some(
    quote => source.includes(`(${quote}${name}${quote},`) || isOnItsLine(source, quote, name),
  );
}

function isOnItsLine(source: string, quote: string, name: string): boolean {
  return source.split('\n').some(line => line.trim() === `${quote}${name}${quote},`);
}

describe.each(pages.map(page => [relative(root, page), page]))('%s', (_name, page) => {
  it('links to files and headings that are there', () => {
    const broken = findLinks(page).filter(
      ({ path, anchor }) =>
        !existsSync(path) || (anchor !== undefined && path.endsWith('.md') && !listAnchors(path).has(anchor)),
    );
    expect(broken.map(({ target }) => target)).toEqual([]);
  });

  it('names tests that are there', () => {
    const missing = findProofs(page).flatMap(({ file, names }) =>
      names
        .filter(name => !existsSync(file) || !hasTest(read(file), name))
        .map(name => `${relative(root, file)} › ${name}`),
    );
    expect(missing).toEqual([]);
  });
});

describe('docs/compared-with-built-in.md', () => {
  const rows = read(join(root, 'docs/compared-with-built-in.md'))
    .split('\n')
    .filter(line => /^\| \d+ \|/.test(line));

  it('has a row for each of the 27 weaknesses, in order', () => {
    expect(rows.map(row => Number(row.split('|')[1]))).toEqual(Array.from({ length: 27 }, (_, n) => n + 1));
  });

  it('shows each by a test, or says that it is not done yet', () => {
    const unproven = rows.filter(row => !/\.spec\.ts\) › “/.test(row) && !row.includes('Not yet'));
    expect(unproven).toEqual([]);
  });
});
