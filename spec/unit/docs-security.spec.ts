// Holds docs/security.md against the canary test: the places where secrets may appear are the same in both.
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { allowedPlaces, createCanary, createSearch, findInJson } from '../support/canaries';

const page = readFileSync(resolve(__dirname, '../../docs/security.md'), 'utf8');

/** The cells of the table whose first line has these titles, without that line and the one below. */
function readTable(...titles: readonly string[]): readonly (readonly string[])[] {
  const lines = page.split('\n');
  const begin = lines.indexOf(`| ${titles.join(' | ')} |`);
  const rows = lines.slice(begin + 2);
  const end = rows.findIndex(line => !line.startsWith('|'));
  return rows.slice(0, end).map(line =>
    line
      .split('|')
      .slice(1, -1)
      .map(cell => cell.trim()),
  );
}

describe('docs/security.md', () => {
  it('lists the places where secrets may appear that the canary test allows', () => {
    expect(readTable('secret', 'place')).toEqual(allowedPlaces);
  });

  it.each(['A hostile client', 'A hostile receiver', 'A hostile network'])(
    'shows each defence: %s',
    title => {
      const section = page.split(`## ${title}\n`)[1]?.split('\n## ')[0] ?? '';
      const rows = section.split('\n').filter(line => line.startsWith('| to '));
      expect(rows.length).toBeGreaterThan(4);
      expect(rows.filter(row => !/\.spec\.ts\) › “/.test(row))).toEqual([]);
    },
  );
});

describe('a canary', () => {
  const core = '0123456789abcdef0123456789abcdef';
  const canary = createCanary('master key', core);
  const find = createSearch([canary]);

  it.each([
    ['plain', core],
    ['its begin', core.slice(0, 12)],
    ['its end', core.slice(-12)],
    ['hex', Buffer.from(core).toString('hex')],
    ['upper-case hex', Buffer.from(core).toString('hex').toUpperCase()],
    ['base64', Buffer.from(core).toString('base64')],
    ['base64 after one byte', Buffer.from(`:${core}`).toString('base64')],
    ['base64 after two bytes', Buffer.from(`a:${core}z`).toString('base64')],
    ['base64url', Buffer.from(`\u00ff\u00fe${core}`).toString('base64url')],
    ['percent-encoded', Buffer.from(core).toString('hex').replace(/../g, '%$&')],
  ])('is found in a longer text: %s', (_form, text) => {
    expect(find(`before ${text} after`)).toEqual([canary]);
  });

  it('is not found in other texts', () => {
    expect(find('')).toEqual([]);
    expect(find(core.slice(1, 12))).toEqual([]);
    expect(find('f'.repeat(1000))).toEqual([]);
  });

  it('is located in JSON, in keys too', () => {
    expect(findInJson(canary, { a: [1, { b: `x${core}` }], [core]: null })).toEqual(['a.1.b', `key ${core}`]);
  });

  it('is refused when it is too short to be no accident', () => {
    expect(() => createCanary('master key', 'short')).toThrow('too short');
  });
});
