// The settings of hooks: defaults, merging, what fits which trigger, and how they are stored and shown.
import { WebhookError } from '../../src/errors';
import type { HookTarget } from '../../src/hooks/hook';
import {
  changeSettings,
  describe as shown,
  hiddenValue,
  resolveSettings,
  settingDefaults,
  settingNames,
} from '../../src/hooks/hook-settings';
import { openRecord, sealRecord, showSettings } from '../../src/hooks/stored-settings';
import { boxOf } from '../support/secret-boxes';

const save: HookTarget = { kind: 'trigger', className: 'Puppy', triggerName: 'beforeSave' };
const saved: HookTarget = { kind: 'trigger', className: 'Puppy', triggerName: 'afterSave' };
const find: HookTarget = { kind: 'trigger', className: 'Puppy', triggerName: 'beforeFind' };
const file: HookTarget = { kind: 'trigger', className: '@File', triggerName: 'beforeSave' };
const called: HookTarget = { kind: 'function', functionName: 'f' };

describe('the change of settings', () => {
  it('sets what it names, takes null back to the default, and leaves the rest', () => {
    const current = { timeoutMs: 100, mode: 'shadow', active: false } as const;
    const next = changeSettings(save, current, { timeoutMs: 200, mode: null });
    expect(next).toEqual({ timeoutMs: 200, active: false });
    expect(current).toEqual({ timeoutMs: 100, mode: 'shadow', active: false });
  });

  it('merges headers by name without regard to case; hidden values keep what is there', () => {
    const current = { headers: { 'x-a': '1', 'x-b': '2', 'x-c': '3' } };
    const change = { 'X-A': 'one', 'X-B': null, 'X-c': hiddenValue };
    expect(changeSettings(save, current, { headers: change }).headers).toEqual({
      'x-a': 'one',
      'x-c': '3',
    });
    expect(() => changeSettings(save, current, { headers: { 'x-d': hiddenValue } })).toThrow('x-d');
  });

  it('takes prototype names as names', () => {
    const headers: unknown = JSON.parse('{"__proto__":"a"}');
    expect(() => changeSettings(save, {}, { headers })).toThrow(WebhookError);
    const body = JSON.parse('{"__proto__":{"active":false}}') as Record<string, unknown>;
    expect(() => changeSettings(save, {}, body)).toThrow('unknown field "__proto__"');
    expect(() => changeSettings(save, {}, { constructor: 1 })).toThrow('unknown field "constructor"');
  });

  it('checks the whole, not the change alone', () => {
    expect(() => changeSettings(save, { keys: ['a'] }, { excludeKeys: ['b'] })).toThrow(
      'keys and excludeKeys',
    );
    expect(changeSettings(save, { keys: ['a'] }, { excludeKeys: ['b'], keys: null })).toEqual({
      excludeKeys: ['b'],
    });
  });

  it.each([
    [called, { where: { a: 1 } }],
    [called, { changed: ['a'] }],
    [called, { keys: ['a'] }],
    [find, { where: { a: 1 } }],
    [find, { changed: ['a'] }],
    [file, { where: { a: 1 } }],
    [save, { excludeKeys: ['a'], responseMode: 'replace' }],
    [save, { excludeKeys: ['card.number'] }],
    [save, { keys: ['card', 'card.name'] }],
    [saved, { includeSessionToken: true }],
  ] as const)('refuses what has no meaning: %j %j', (target, change) => {
    expect(() => changeSettings(target, {}, change)).toThrow(WebhookError);
  });

  it.each([
    [find, { keys: ['a', 'c'] }],
    [find, { includeSessionToken: true }],
    [saved, { includeSessionToken: false }],
    [called, { includeSessionToken: true, forwardHeaders: ['user-agent'] }],
    [save, { where: {}, changed: ['a'], excludeKeys: ['b'] }],
  ] as const)('takes what has: %j %j', (target, change) => {
    expect(changeSettings(target, {}, change)).toEqual(change);
  });

  it('names the field and the value, but never the value of a header', () => {
    expect(() => changeSettings(save, {}, { timeoutMs: '5s' })).toThrow(/timeoutMs.*"5s"/);
    expect(() => changeSettings(save, {}, { forwardHeaders: ['Cookie'] })).toThrow(/forwardHeaders.*cookie/);
    for (const headers of [{ 'x-a': 'hunter2\n' }, { 'x-a': ['hunter2'] }, ['hunter2'], 'hunter2']) {
      expect(() => changeSettings(save, {}, { headers })).toThrow(
        expect.objectContaining({ message: expect.stringMatching(/^headers(?!.*hunter2)/) }),
      );
    }
  });
});

describe('settings', () => {
  it('are the defaults of the package, of the plugin and their own, the last first', () => {
    const resolved = resolveSettings({ timeoutMs: 1 }, { timeoutMs: 2, mode: 'shadow' });
    expect(resolved).toEqual({ ...settingDefaults, timeoutMs: 1, mode: 'shadow' });
  });

  it('have a default or none, all of them', () => {
    const withoutDefault = settingNames.filter(name => !(name in settingDefaults));
    expect(withoutDefault).toEqual([
      'firstByteTimeoutMs',
      'where',
      'changed',
      'keys',
      'excludeKeys',
      'bearer',
      'basicAuth',
      'tls',
      'network',
    ]);
  });

  it('are stored with header values sealed for their hook and name, and shown without them', () => {
    const box = boxOf('some key');
    const settings = { timeoutMs: 5, headers: { 'x-a': 'top secret', 'x-b': 'other' } };
    const stored = sealRecord(save, { settings, secrets: undefined }, box);
    expect(stored).not.toContain('top secret');
    expect(openRecord(save, stored, box)).toEqual({ settings, secrets: undefined });
    expect(showSettings(settings)).toEqual({
      timeoutMs: 5,
      headers: { 'x-a': hiddenValue, 'x-b': hiddenValue },
    });
    expect(() => openRecord(called, stored, box)).toThrow(expect.objectContaining({ code: 'BROKEN_SECRET' }));
    const parsed = JSON.parse(stored) as { headers: Record<string, string> };
    const swapped = { ...parsed, headers: { 'x-a': parsed.headers['x-b'], 'x-b': parsed.headers['x-a'] } };
    expect(() => openRecord(save, JSON.stringify(swapped), box)).toThrow(
      expect.objectContaining({ code: 'BROKEN_SECRET' }),
    );
  });

  it.each([
    '',
    'null',
    '[]',
    '5',
    '{',
    '{"headers":[]}',
    '{"headers":{"x-a":5}}',
    '{"colour":"red"}',
    '{"timeoutMs":0}',
  ])('that are stored as %s are never taken for defaults', stored => {
    const box = boxOf('some key');
    expect(() => openRecord(save, stored, box)).toThrow(WebhookError);
  });
});

it('shows values short, whatever they are', () => {
  const circular: Record<string, unknown> = {};
  circular['self'] = circular;
  expect([shown('a'), shown(undefined), shown(circular), shown(() => 1), shown(5n)]).toEqual([
    '"a"',
    'undefined',
    'object',
    'function',
    'bigint',
  ]);
  expect(shown('x'.repeat(100))).toHaveLength(60);
});
