// Holds the table of limits in docs/options.md against the constants, options and settings of the code.
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { maxEventBytes } from '../../src/events/event-publisher';
import { maxExcerptBytes } from '../../src/events/reply-excerpt';
import { subscriptionDefaults } from '../../src/events/subscription-settings';
import { maxDepth } from '../../src/wire/request-headers';
import { parseSettings, settingDefaults, type HookSettings } from '../../src/hooks/hook-settings';
import { minCallsJudged, rateWindowMs } from '../../src/http/failure-breaker';
import { laneDefaults } from '../../src/http/lane';
import { maxReplyHeaders } from '../../src/http/running-exchange';
import {
  defaultKeepAliveMs,
  keepAliveMarginMs,
  maxHeaderBytes,
  maxKeepAliveMs,
} from '../../src/http/undici-client';
import { parseOptions } from '../../src/options';
import { lockLeaseMs, lockWaitMs } from '../../src/parse/database-hook-store';
import { maxDepth as maxRequestDepth } from '../../src/parse/encode-value';
import { defaultMaxBodyBytes } from '../../src/receiver/receive';
import { defaultToleranceSeconds } from '../../src/receiver/verify';
import { maxErrorLength, maxReplyDepth } from '../../src/wire/decode-reply';

const options = parseOptions({});

const number = (value: number): string => value.toLocaleString('en-US');
const duration = (ms: number): string => (ms % 1000 === 0 ? `${ms / 1000} s` : `${ms} ms`);
const size = (bytes: number): string =>
  bytes % 1_048_576 === 0 ? `${bytes / 1_048_576} MiB` : `${bytes / 1024} KiB`;
const option = (name: keyof typeof options): string => `option \`${name}\``;
const setting = (name: keyof HookSettings): string => `setting \`${name}\``;

const field = (name: keyof typeof subscriptionDefaults): string => `field \`${name}\``;

const maxHeaders = 50;
const maxHeaderSum = 8192;
const maxHeaderName = 128;
const maxHeaderValue = 4096;

/** In the order of the table: limit, value, what sets it. */
const expected: readonly (readonly [limit: string, value: string, setBy?: string])[] = [
  ['request body', size(settingDefaults.maxRequestBytes), setting('maxRequestBytes')],
  ['request headers of a hook', number(maxHeaders)],
  ['all names and values of them', size(maxHeaderSum)],
  ['name of a request header', `${number(maxHeaderName)} characters`],
  ['value of a request header', `${number(maxHeaderValue)} characters`],
  ['client headers forwarded', number(maxHeaders)],
  ['nesting of a request', `${maxRequestDepth} levels`],
  ['reply body, decoded', size(settingDefaults.maxReplyBytes), setting('maxReplyBytes')],
  ['reply headers', number(maxReplyHeaders)],
  ['all names and values of them', size(maxHeaderBytes)],
  ['nesting of a reply', `${maxReplyDepth} levels`],
  ["text of a reply's `error`", `${number(maxErrorLength)} characters`],
  ['DNS, TCP and TLS of one connection', duration(options.connectTimeoutMs), option('connectTimeoutMs')],
  ['DNS: the look-up of a name', duration(options.dnsTimeoutMs), option('dnsTimeoutMs')],
  ['TCP, or a tunnel through the proxy', duration(options.tcpTimeoutMs), option('tcpTimeoutMs')],
  ['TLS: the handshake', duration(options.tlsTimeoutMs), option('tlsTimeoutMs')],
  [
    "first byte: from the request to the reply's headers",
    settingDefaults.firstByteTimeoutMs === undefined
      ? 'as the whole call'
      : duration(settingDefaults.firstByteTimeoutMs),
    setting('firstByteTimeoutMs'),
  ],
  [
    'one call: connection, first byte and whole reply',
    duration(settingDefaults.timeoutMs),
    setting('timeoutMs'),
  ],
  ['one operation of a client: all its calls', duration(options.totalDeadlineMs), option('totalDeadlineMs')],
  ['depth of webhooks that cause each other', number(maxDepth)],
  [
    'connections per hook and origin',
    number(options.maxConnectionsPerOrigin),
    option('maxConnectionsPerOrigin'),
  ],
  ['idle connection, where the receiver names no time', duration(defaultKeepAliveMs)],
  [
    'idle connection, where its header `keep-alive` does',
    `${duration(keepAliveMarginMs)} less than that, at most ${duration(maxKeepAliveMs)}`,
  ],
  ['calls of a hook in flight', number(settingDefaults.maxInFlight), setting('maxInFlight')],
  ['calls of a hook that wait for their turn', number(laneDefaults.maxWaiting)],
  ['wait for a turn', duration(laneDefaults.maxWaitMs)],
  [
    "failures in a row that open a hook's breaker",
    number(options.breakerFailures),
    option('breakerFailures'),
  ],
  ['share of failures that opens it', `${options.breakerFailurePercent} %`, option('breakerFailurePercent')],
  ['time whose calls that share is of', duration(rateWindowMs)],
  ['calls that it is of at least', number(minCallsJudged)],
  ['rest of a receiver while the breaker is open', duration(options.breakerOpenMs), option('breakerOpenMs')],
  ['one attempt to a subscription', duration(subscriptionDefaults.timeoutMs), field('timeoutMs')],
  ['attempts to a subscription under way', number(subscriptionDefaults.concurrency), field('concurrency')],
  ['body of an object event', size(subscriptionDefaults.maxBodyBytes), field('maxBodyBytes')],
  ['`data` of a custom event', size(maxEventBytes)],
  ['reply body kept with an attempt', size(maxExcerptBytes)],
  ['body that the receiver kit reads', size(defaultMaxBodyBytes), 'its `maxBodyBytes`'],
  [
    'age of a signature that the kit accepts',
    duration(defaultToleranceSeconds * 1000),
    'its `toleranceSeconds`',
  ],
  ['wait for deliveries under way at `stop()`', duration(options.drainTimeoutMs), option('drainTimeoutMs')],
  ['lease of the registration lock', duration(lockLeaseMs)],
  ['wait for the registration lock', duration(lockWaitMs)],
];

function readTable(): string[][] {
  const text = readFileSync(resolve(__dirname, '../../docs/options.md'), 'utf8');
  const section = text.split('## Limits\n')[1]?.split('\n## ')[0] ?? '';
  const rows = section.split('\n').filter(line => line.startsWith('| '));
  return rows.slice(1).map(row =>
    row
      .split('|')
      .slice(1, -1)
      .map(cell => cell.trim()),
  );
}

const target = { kind: 'trigger', className: 'A', triggerName: 'beforeSave' } as const;
const names = (count: number): string[] => Array.from({ length: count }, (_, n) => `x-${n}`);
const headers = (count: number): Record<string, string> =>
  Object.fromEntries(names(count).map(name => [name, '1']));

describe('the documented limits', () => {
  it('are those of the code', () => {
    expect(readTable()).toEqual(expected.map(([limit, value, setBy = '']) => [limit, value, setBy]));
  });

  it('are the defaults of the lanes, too', () => {
    expect(laneDefaults).toMatchObject({
      maxInFlight: settingDefaults.maxInFlight,
      failuresToOpen: options.breakerFailures,
      failurePercent: options.breakerFailurePercent,
      openMs: options.breakerOpenMs,
    });
  });

  it.each([
    ['request headers', { headers: headers(maxHeaders) }, { headers: headers(maxHeaders + 1) }],
    [
      'name of a request header',
      { headers: { ['x'.repeat(maxHeaderName)]: '1' } },
      { headers: { ['x'.repeat(maxHeaderName + 1)]: '1' } },
    ],
    [
      'value of a request header',
      { headers: { x: 'x'.repeat(maxHeaderValue) } },
      { headers: { x: 'x'.repeat(maxHeaderValue + 1) } },
    ],
    [
      'all names and values of the headers',
      { headers: { ab: 'x'.repeat(4094), cd: 'x'.repeat(4094) } },
      { headers: { ab: 'x'.repeat(4094), cd: 'x'.repeat(4095) } },
    ],
    [
      'client headers forwarded',
      { forwardHeaders: names(maxHeaders) },
      { forwardHeaders: names(maxHeaders + 1) },
    ],
  ])('hold at registration: %s', (_what, within, above) => {
    expect(() => parseSettings(target, within)).not.toThrow();
    expect(() => parseSettings(target, above)).toThrow();
  });
});
