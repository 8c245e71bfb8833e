// Canaries: secrets that are made to be searched for, in every form they might leave in, and where each may be found.
import { inspect } from 'node:util';

/** Where a secret may be found. docs/security.md has the same table, and a test holds the two together. */
export const allowedPlaces: readonly (readonly [secret: string, place: string])[] = [
  ['webhook key', 'request: header x-parse-webhook-key'],
  ['session token', 'request: body user.sessionToken, with includeSessionToken'],
  ['header value of a hook', "request: that header, in the hook's own"],
  ['basicAuth password of a hook', "request: header authorization, in the hook's own"],
  ['secret of a hook', 'answer: secret, of POST /hooks/...'],
  ['secret of a hook', 'answer: secret, of POST .../secret/rotate'],
  ['header value of a subscription', "request: that header, in the subscription's own"],
  ['basicAuth password of a subscription', "request: header authorization, in the subscription's own"],
  ['secret of a subscription', 'answer: secret, of POST /webhooks/subscriptions'],
  ['secret of a subscription', 'answer: secret, of POST .../secret/rotate'],
  ['user name and password of the proxy', 'CONNECT: header proxy-authorization'],
  ['session token', "answer: Parse Server's own"],
  ['auth data', "answer: Parse Server's own"],
  ['session token', "row: Parse Server's _Session"],
  ['hashed password', "row: Parse Server's _User"],
  ['auth data', "row: Parse Server's _User"],
  ['device token', "answer: Parse Server's own"],
  ['device token', "row: Parse Server's _Installation"],
];

export interface Canary {
  /** Which kind of secret: the first column of `allowedPlaces`. */
  readonly secret: string;
  /** Of the secrets of a hook or subscription: the path of its URL. */
  readonly owner?: string;
  readonly needles: readonly string[];
}

/** Long enough to be found by no accident (48 bits of hex), short enough to be found in a text that was cut. */
const pieceLength = 12;

/** `core` is the random part of a secret, 24 characters or more: its begin and its end are searched for. */
export function createCanary(secret: string, core: string, owner?: string): Canary {
  if (core.length < 2 * pieceLength) throw new Error(`the canary of the ${secret} is too short`);
  const pieces = [core.slice(0, pieceLength), core.slice(-pieceLength)];
  return { secret, ...(owner !== undefined && { owner }), needles: pieces.flatMap(formsOf) };
}

/** Plain, hex, percent-encoded, and base64 and base64url wherever in a longer text the piece begins. */
function formsOf(piece: string): string[] {
  const bytes = Buffer.from(piece);
  const hex = bytes.toString('hex');
  const percent = hex.replace(/../g, '%$&');
  const base64 = [0, 1, 2].map(before => {
    const text = Buffer.concat([Buffer.alloc(before), bytes]).toString('base64');
    // Characters that hold bits of neighbours are left out.
    return text.slice(Math.ceil((before * 8) / 6), Math.floor(((before + bytes.length) * 8) / 6));
  });
  const url = base64.map(text => text.replaceAll('+', '-').replaceAll('/', '_'));
  return [
    ...new Set([piece, hex, hex.toUpperCase(), percent, percent.toUpperCase(), encodeURIComponent(piece)]),
    ...new Set([...base64, ...url]),
  ];
}

/** The canaries that a text holds, in whatever form. */
export type Search = (text: string) => readonly Canary[];

/** One pass over a text finds all canaries: every needle is known by its first characters. */
export function createSearch(canaries: readonly Canary[]): Search {
  const byHead = new Map<string, { readonly needle: string; readonly canary: Canary }[]>();
  for (const canary of canaries) {
    for (const needle of canary.needles) {
      const head = needle.slice(0, pieceLength);
      byHead.set(head, [...(byHead.get(head) ?? []), { needle, canary }]);
    }
  }
  return text => {
    const found = new Set<Canary>();
    for (let at = 0; at + pieceLength <= text.length; at += 1) {
      for (const { needle, canary } of byHead.get(text.slice(at, at + pieceLength)) ?? [])
        if (text.startsWith(needle, at)) found.add(canary);
    }
    return [...found];
  };
}

/** Paths of the values and keys of a JSON value that hold a canary, such as `user.sessionToken` and `objects.0.a`. */
export function findInJson(canary: Canary, value: unknown, path = ''): readonly string[] {
  const holds = (text: string): boolean => canary.needles.some(needle => text.includes(needle));
  const below = (key: string): string => (path === '' ? key : `${path}.${key}`);
  if (typeof value !== 'object' || value === null) return holds(String(value)) ? [path] : [];
  return Object.entries(value).flatMap(([key, item]) => [
    ...(holds(key) ? [`key ${below(key)}`] : []),
    ...findInJson(canary, item, below(key)),
  ]);
}

export interface LogLine {
  readonly level: string;
  readonly text: string;
  /** Whose code called the logger. */
  readonly source: 'plugin' | 'parse-server' | 'other';
}

/**
 * A logger adapter for Parse Server that keeps every line and who wrote it. Parse Server and the plugin share one
 * logger, so the caller is read from the stack: the first frame that is not the logger itself.
 */
export function createRecordingLogger(lines: LogLine[]): {
  log: (level: string, ...args: unknown[]) => void;
} {
  return {
    log: (level, ...args) => {
      const texts = args.map(arg => (typeof arg === 'string' ? arg : inspect(arg, { depth: 10 })));
      lines.push({ level, text: texts.join(' '), source: findCaller() });
    },
  };
}

function findCaller(): LogLine['source'] {
  const limit = Error.stackTraceLimit;
  Error.stackTraceLimit = 20;
  const frames = (new Error().stack ?? '').split('\n').slice(1);
  Error.stackTraceLimit = limit;
  const caller = frames.find(frame => !/LoggerController|support[\\/]canaries/.test(frame)) ?? '';
  if (/[\\/]node_modules[\\/]parse-server[\\/]/.test(caller)) return 'parse-server';
  return /[\\/]src[\\/]/.test(caller) && !caller.includes('node_modules') ? 'plugin' : 'other';
}
