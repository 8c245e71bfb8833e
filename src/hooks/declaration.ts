// What somebody declares: a REST body or an entry of the option `hooks`, read into target, URL, settings and secret.
import { WebhookError } from '../errors';
import { decodeSecret, minHmacTokenBytes } from '../shared/secret-format';
import type { Hook } from './hook';
import { changeSettings, settingNames, type HookSettings } from './hook-settings';
import { assertTlsFits, parseTarget, parseUrl } from './validate-hook';

export type Declaration = Readonly<Record<string, unknown>>;

export interface Declared {
  readonly hook: Hook;
  readonly settings: HookSettings;
  readonly secret: string | undefined;
}

/** The `secret` of a declaration, checked. */
export function secretOf(declaration: Declaration): string | undefined {
  const { secret } = declaration;
  return secret === undefined || secret === null ? undefined : checkedSecret(secret);
}

export function checkedSecret(secret: unknown): string {
  decodeSecret(secret);
  return String(secret);
}

/** Throws INVALID_HOOK for a secret too short to be the key of the hook's bearer tokens. */
export function assertSecretFits({ bearer }: HookSettings, secret: string): void {
  if (bearer?.algorithm !== 'HS256') return;
  const { length } = decodeSecret(secret);
  if (length >= minHmacTokenBytes) return;
  throw new WebhookError(
    'INVALID_HOOK',
    `bearer HS256 needs a secret of ${minHmacTokenBytes} bytes or more (RFC 7518, 3.2), this one has ${length}`,
  );
}

export function parseHook(declaration: Declaration): Hook {
  return { target: parseTarget(declaration), url: parseUrl(declaration.url) };
}

const hookFieldNames = ['functionName', 'className', 'triggerName', 'url', 'secret'];

/** Fields of a REST body that mean nothing here; those that SDKs add to every body are Parse Server's to take out. */
export function unknownFields(declaration: Declaration): readonly string[] {
  const known: readonly string[] = [...hookFieldNames, ...settingNames];
  return Object.keys(declaration).filter(name => !known.includes(name));
}

/** What of a REST body is settings. The built-in drops unknown fields silently; our own routes refuse them. */
export function settingsOf(declaration: Declaration, extras: 'refuse-unknown' | 'drop-unknown'): Declaration {
  const rest = Object.entries(declaration).filter(([name]) => !hookFieldNames.includes(name));
  if (extras === 'refuse-unknown') return Object.fromEntries(rest);
  return Object.fromEntries(rest.filter(([name]) => (settingNames as readonly string[]).includes(name)));
}

export function parseDeclared(declaration: Declaration, at: number): Declared {
  try {
    const hook = parseHook(declaration);
    const settings = changeSettings(hook.target, {}, settingsOf(declaration, 'refuse-unknown'));
    const secret = secretOf(declaration);
    if (secret !== undefined) assertSecretFits(settings, secret);
    assertTlsFits(hook.url, settings);
    return { hook, settings, secret };
  } catch (cause) {
    if (!(cause instanceof WebhookError)) throw cause;
    throw new WebhookError('INVALID_OPTION', `hooks.${at} is invalid: ${cause.message}`, { cause });
  }
}
