// The configuration that a command is given: a module, CommonJS or ESM, that says how Parse Server and webhooks run.
import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { WebhooksOptions } from '../index';
import { UsageError } from './usage-error';

export interface Config {
  /** As given to `new ParseServer()` in the server's process. */
  readonly parseServer: Readonly<Record<string, unknown>>;
  readonly webhooks: WebhooksOptions;
}

/**
 * Loads the module at `path`, relative to the working directory. It exports `{ parseServer, webhooks }`, one by one or as
 * its default, or a function, async or not, that returns this. Throws UsageError.
 */
export async function loadConfig(path: string): Promise<Config> {
  const absolute = resolve(process.cwd(), path);
  if (!existsSync(absolute)) throw new UsageError(`--config ${path}: there is no such file`);
  let exported: unknown;
  try {
    exported = unwrap((await import(pathToFileURL(absolute).href)) as unknown);
    if (typeof exported === 'function') exported = await (exported as () => unknown)();
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new UsageError(`--config ${path} cannot be loaded: ${reason}`, { cause });
  }
  if (!isObject(exported)) throw new UsageError(`--config ${path} must export an object or a function`);
  const { parseServer, webhooks = {} } = exported;
  if (!isObject(parseServer)) throw new UsageError(`--config ${path} must export parseServer, an object`);
  if (!isObject(webhooks)) throw new UsageError(`--config ${path}: webhooks must be an object`);
  // What is in it is judged by Webhooks.
  return { parseServer, webhooks: webhooks };
}

/** What the module means by its exports: compiled modules have their default in the default of import(). */
function unwrap(loaded: unknown): unknown {
  let value = loaded;
  while (isObject(value) && !('parseServer' in value) && value['default'] !== undefined)
    value = value['default'];
  return value;
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
