// Holds docs/subscriptions.md against the fields that are there, their defaults and ranges, and the names of events.
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { maxEventBytes } from '../../src/events/event-publisher';
import { objectEvents, operationalEvents } from '../../src/events/event-types';
import {
  changeSubscription,
  subscriptionDefaults,
  subscriptionFieldNames,
} from '../../src/events/subscription-settings';

const text = readFileSync(resolve(__dirname, '../../docs/subscriptions.md'), 'utf8');
const rows = new Map(
  text
    .split('\n')
    .filter(line => /^\| `\w+` \|/.test(line))
    .map(line => {
      const cells = line.split('|').map(cell => cell.trim().replaceAll('`', ''));
      return [cells[1] ?? '', cells.slice(2)];
    }),
);
const base = { url: 'https://example.com', events: ['*'] };

describe('the documented fields of a subscription', () => {
  it('are all there are', () => {
    expect([...rows.keys()]).toEqual(subscriptionFieldNames);
  });

  it('have the defaults that hold', () => {
    for (const [name, value] of Object.entries(subscriptionDefaults))
      expect([name, rows.get(name)?.[0]]).toEqual([name, JSON.stringify(value)]);
  });

  it('have the ranges that hold', () => {
    const ranges = [...rows].flatMap(([name, [, range]]) => {
      const bounds = /^(\d+)\.\.(\d+):/.exec(range ?? '');
      return bounds ? [{ name, low: Number(bounds[1]), high: Number(bounds[2]) }] : [];
    });
    expect(ranges.map(({ name }) => name)).toEqual([
      'timeoutMs',
      'firstByteTimeoutMs',
      'concurrency',
      'maxBodyBytes',
    ]);
    for (const { name, low, high } of ranges) {
      for (const value of [low, high])
        expect(() => changeSubscription(base, { [name]: value })).not.toThrow();
      for (const value of [low - 1, high + 1])
        expect(() => changeSubscription(base, { [name]: value })).toThrow(name);
    }
  });

  it('name all events, and the bound of custom ones', () => {
    for (const event of [...objectEvents, ...operationalEvents]) expect(text).toContain(`\`${event}\``);
    expect(text).toContain(`at most ${maxEventBytes} bytes`);
  });

  it('are taken as the examples give them', () => {
    const example = /-d '(\{"name".*?\})' \\/s.exec(text)?.[1] ?? '';
    const { name: _name, ...fields } = JSON.parse(example) as Record<string, unknown>;
    expect(() => changeSubscription({}, fields)).not.toThrow();
    for (const [, retry] of text.matchAll(/`(\{"(?:scheduleMs|maxAttempts)".*?\})`/g))
      expect(() => changeSubscription(base, { retry: JSON.parse(retry ?? '') as unknown })).not.toThrow();
  });
});
