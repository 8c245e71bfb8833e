// From what a client or a database row says to a Hook: names, URL, refusals. Every refusal names field and value.
import { WebhookError } from '../errors';
import { describe } from './hook-settings';
import type { Hook, HookTarget } from './hook';
import {
  isHookableClassName,
  isTriggerName,
  prototypeNames,
  triggerNames,
  whyRefused,
} from './trigger-rules';

/** What the built-in answers to a declaration that names neither kind of hook; kept word for word. */
const invalidDeclaration = 'invalid hook declaration';

const maxUrlLength = 2048;

/** The target that a REST body names. As in the built-in, `functionName` wins. Throws INVALID_HOOK or REFUSED_CLASS. */
export function parseTarget(fields: Readonly<Record<string, unknown>>): HookTarget {
  if (isGiven(fields.functionName)) return parseFunctionTarget(fields.functionName);
  if (isGiven(fields.className) && isGiven(fields.triggerName)) {
    return parseTriggerTarget(fields.className, fields.triggerName);
  }
  throw new WebhookError('INVALID_HOOK', invalidDeclaration);
}

export function parseFunctionTarget(functionName: unknown): HookTarget {
  // Parse Server splits function names at dots and refuses quotes (triggers.js getStore); the rest cannot be a path
  // segment. A function named like a trigger would overwrite that trigger's validators in the same store.
  if (
    typeof functionName !== 'string' ||
    !/^[^\s\p{Cc}.'"`/\\?#%]{1,128}$/u.test(functionName) ||
    prototypeNames.includes(functionName)
  ) {
    throw new WebhookError(
      'INVALID_HOOK',
      `functionName must be a string of 1..128 characters without spaces, dots, quotes or slashes, got ${describe(functionName)}`,
    );
  }
  if (isTriggerName(functionName)) {
    throw new WebhookError(
      'INVALID_HOOK',
      `functionName must not be the name of a trigger, got ${describe(functionName)}`,
    );
  }
  return { kind: 'function', functionName };
}

export function parseTriggerTarget(className: unknown, triggerName: unknown): HookTarget {
  if (!isTriggerName(triggerName)) {
    throw new WebhookError(
      'INVALID_HOOK',
      `${invalidDeclaration}: triggerName must be one of ${triggerNames.join(', ')}, got ${describe(triggerName)}`,
    );
  }
  if (typeof className !== 'string' || !isHookableClassName(className)) {
    throw new WebhookError(
      'INVALID_HOOK',
      `${invalidDeclaration}: className must be a class of Parse, got ${describe(className)}`,
    );
  }
  const refusal = whyRefused(className, triggerName);
  if (refusal !== undefined) throw new WebhookError('REFUSED_CLASS', refusal);
  return { kind: 'trigger', className, triggerName };
}

/** Checks a hook's URL and gives it back as it was written. Throws INVALID_HOOK. */
export function parseUrl(url: unknown): string {
  if (!isGiven(url)) throw new WebhookError('INVALID_HOOK', invalidDeclaration);
  if (typeof url !== 'string') {
    throw new WebhookError('INVALID_HOOK', `url must be a string, got ${describe(url)}`);
  }
  if (url.length > maxUrlLength) {
    throw new WebhookError(
      'INVALID_HOOK',
      `url must have at most ${maxUrlLength} characters, got ${url.length}`,
    );
  }
  // new URL() would drop these silently, and the row would then not say where the hook goes.
  if (/[\s\p{Cc}]/u.test(url)) {
    throw new WebhookError(
      'INVALID_HOOK',
      `url must hold no spaces and no control characters, got ${describeUrl(url)}`,
    );
  }
  let parsed: URL;
  try {
    parsed = new URL(url);
  } catch {
    // No cause: its message quotes the URL.
    throw new WebhookError('INVALID_HOOK', `url must be an absolute URL, got ${describeUrl(url)}`);
  }
  if (parsed.protocol !== 'http:' && parsed.protocol !== 'https:') {
    throw new WebhookError('INVALID_HOOK', `url must be http or https, got ${describe(parsed.protocol)}`);
  }
  if (parsed.username !== '' || parsed.password !== '') {
    throw new WebhookError('INVALID_HOOK', 'url must not carry credentials: use headers instead');
  }
  return url;
}

/** Throws INVALID_HOOK for certificates that nothing would use: a connection to an http URL has no TLS. */
export function assertTlsFits(url: string, { tls }: { readonly tls?: unknown }): void {
  if (hasUnusedTls(url, { tls }))
    throw new WebhookError(
      'INVALID_HOOK',
      'tls cannot be given for an http url: its connections have no TLS',
    );
}

/** True of settings whose certificates nothing uses, as rows may have them. `url`: absolute, http or https. */
export function hasUnusedTls(url: string, { tls }: { readonly tls?: unknown }): boolean {
  return tls !== undefined && new URL(url).protocol === 'http:';
}

/** A URL as messages show it: without what may be a user name and a password, however it is malformed. */
function describeUrl(url: string): string {
  return describe(url.replace(/^.*@/s, '********@'));
}

export type ParsedRow =
  { readonly kind: 'hook'; readonly hook: Hook } | { readonly kind: 'unusable'; readonly reason: string };

/** Reads a row of `_Hooks`, which may hold anything: the built-in checked nothing. Never throws. */
export function parseHookRow(row: unknown): ParsedRow {
  try {
    if (typeof row !== 'object' || row === null)
      throw new WebhookError('INVALID_HOOK', 'the row is not an object');
    const fields = row as Record<string, unknown>;
    return { kind: 'hook', hook: { target: parseTarget(fields), url: parseUrl(fields.url) } };
  } catch (error) {
    return { kind: 'unusable', reason: error instanceof Error ? error.message : String(error) };
  }
}

function isGiven(value: unknown): boolean {
  return value !== undefined && value !== null && value !== '';
}
