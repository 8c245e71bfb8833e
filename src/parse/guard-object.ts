// Makes an object that clients sent safe for Parse Server to write as JSON while a trigger is registered for it.
import type { RestEncoder } from './encode-value';
import type { ParseFile, ParseObject, ParseSdk } from './internals';

/** As deep as encode-value.ts goes. */
const maxDepth = 200;

export interface GuardParts {
  readonly sdk: ParseSdk;
  readonly encoder: RestEncoder;
}

/**
 * Parse Server writes the object to its log right after a trigger (lib/triggers.js maybeRunTrigger), in a promise that
 * nobody catches. The SDK's toJSON throws for a file without url, which the REST guide lets clients send, for an
 * invalid date and for a pointer without objectId: the client would wait for ever, and the process end. Without a
 * trigger nothing of it happens, so a hook must not bring it about.
 *
 * Files get the url that Parse Server would give them; toJSON no longer throws. Must run before the trigger's first
 * await: for after* triggers the log line is written while the trigger runs.
 */
export function guardObject(object: ParseObject, config: object | undefined, parts: GuardParts): void {
  giveFileUrls(object, config, parts.sdk);
  const toJSON = object.toJSON.bind(object);
  const guarded = (...parameters: unknown[]): Record<string, unknown> => {
    try {
      return toJSON(...parameters);
    } catch {
      return bestEffort(object, parts.encoder);
    }
  };
  Object.defineProperty(object, 'toJSON', { value: guarded, configurable: true, writable: true });
}

/** Gives the files of an object the url that Parse Server would give them. */
export function giveFileUrls(object: ParseObject, config: object | undefined, sdk: ParseSdk): void {
  giveUrls(object.attributes, file => locationOf(file, config), sdk);
}

function bestEffort(object: ParseObject, encoder: RestEncoder): Record<string, unknown> {
  try {
    return { ...encoder.object(object) };
  } catch {
    return { className: object.className };
  }
}

function giveUrls(value: unknown, locate: (file: ParseFile) => string, sdk: ParseSdk, depth = 0): void {
  if (typeof value !== 'object' || value === null || depth > maxDepth) return;
  if (value instanceof sdk.File) {
    if (value.url() === undefined) value._url = locate(value);
    return;
  }
  if (Array.isArray(value)) for (const item of value) giveUrls(item, locate, sdk, depth + 1);
  else if (Object.prototype.toString.call(value) === '[object Object]' && !(value instanceof sdk.Object))
    for (const item of Object.values(value)) giveUrls(item, locate, sdk, depth + 1);
}

/** What lib/Controllers/FilesController.js asks its adapter; an adapter that answers later gets Parse's own file route. */
function locationOf(file: ParseFile, config: object | undefined): string {
  const { filesController, mount, applicationId } = (config ?? {}) as Readonly<Record<string, unknown>>;
  try {
    const location = (filesController as FilesController | undefined)?.adapter?.getFileLocation?.(
      config,
      file.name(),
    );
    if (typeof location === 'string') return location;
    Promise.resolve(location).catch(() => undefined);
  } catch {
    // The adapter cannot tell; neither would it have told Parse Server.
  }
  return `${String(mount)}/files/${String(applicationId)}/${encodeURIComponent(file.name())}`;
}

interface FilesController {
  readonly adapter?: { getFileLocation?(config: unknown, filename: string): unknown };
}
