// Holds the tables of docs/options.md and docs/hook-settings.md against the code.
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { settingDefaults, settingNames } from '../../src/hooks/hook-settings';
import { parseOptions } from '../../src/options';
import { version } from '../../src/shared/version';
import packageJson from '../../package.json';

function tableRows(path: string): Map<string, string[]> {
  const text = readFileSync(resolve(__dirname, '../../docs', path), 'utf8');
  const rows = text.split('\n').filter(line => /^\| `\w+` \|/.test(line));
  return new Map(
    rows.map(row => {
      const cells = row.split('|').map(cell => cell.trim().replaceAll('`', ''));
      return [cells[1] ?? '', cells.slice(2)];
    }),
  );
}

describe('the documented options', () => {
  const rows = tableRows('options.md');
  const optional = ['encryptionKey', 'issuer', 'metricsToken', 'proxy', 'queue'];

  it('are all options there are, with their defaults', () => {
    const defaults = parseOptions({}) as Readonly<Record<string, unknown>>;
    expect([...rows.keys()].sort()).toEqual([...Object.keys(defaults), ...optional].sort());
    for (const [name, value] of Object.entries(defaults)) {
      expect([name, rows.get(name)?.[0]]).toEqual([name, JSON.stringify(value)]);
    }
  });

  it('name the ranges that hold', () => {
    for (const [name, [, range]] of rows) {
      const bounds = /^(\d+)\.\.(\d+)$/.exec(range ?? '');
      if (!bounds) continue;
      const [low, high] = [Number(bounds[1]), Number(bounds[2])];
      expect(() => parseOptions({ [name]: low })).not.toThrow();
      expect(() => parseOptions({ [name]: high })).not.toThrow();
      expect(() => parseOptions({ [name]: low - 1 })).toThrow(name);
      expect(() => parseOptions({ [name]: high + 1 })).toThrow(name);
    }
  });

  it('refuses an unknown option by name', () => {
    expect(() => parseOptions({ timeout: 5 })).toThrow(/timeout/);
  });
});

describe('the documented settings', () => {
  const rows = tableRows('hook-settings.md');

  it('are all settings there are', () => {
    expect([...rows.keys()].filter(name => !(settingNames as readonly string[]).includes(name))).toEqual([]);
    expect(settingNames.filter(name => !rows.has(name))).toEqual([]);
  });

  it('name the defaults', () => {
    const wrong = Object.entries(settingDefaults).filter(
      ([name, value]) =>
        rows.get(name)?.every(cell => cell !== (typeof value === 'string' ? value : JSON.stringify(value))) ??
        true,
    );
    expect(wrong).toEqual([]);
  });
});

describe('the version that receivers see', () => {
  it('is the one of the package', () => {
    expect(version).toBe(packageJson.version);
  });
});
