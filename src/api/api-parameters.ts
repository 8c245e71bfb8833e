// What requests give: query and body held against their schemas, and the parameters that several routes share.
import type { Request } from 'express';
import { z } from 'zod';
import { WebhookError } from '../errors';
import { describe } from '../hooks/hook-settings';
import { isJsonObject } from '../shared/json';

const maxLimit = 1000;
const defaultLimit = 100;
/** The latest that a Date can hold, in milliseconds since 1970. */
const maxInstant = 8.64e15;

const limitRange = `must be an integer in 1..${maxLimit}`;
const instantForms = 'must be an ISO 8601 time with a zone, or milliseconds since 1970';

/** In a query all is text. */
function readWholeNumber(given: unknown): unknown {
  return typeof given === 'string' && /^\d{1,16}$/.test(given) ? Number(given) : given;
}

/** Text that can be an id or a name somewhere, and that every database takes. */
export const idText = z
  .string('must be a string')
  .regex(/^\P{Cc}{1,256}$/u, 'must be 1 to 256 characters, none of them a control character');

/** An instant as milliseconds since 1970. */
export const instant = z.preprocess(
  readWholeNumber,
  z
    .union(
      [
        z.int().min(0, instantForms).max(maxInstant, instantForms),
        z.iso.datetime({ offset: true }),
        z.iso.date(),
      ],
      instantForms,
    )
    .transform(given => (typeof given === 'number' ? given : Date.parse(given))),
);

/** Of every list. */
export const pageParameters = {
  limit: z
    .preprocess(readWholeNumber, z.int(limitRange).min(1, limitRange).max(maxLimit, limitRange))
    .default(defaultLimit)
    .meta({ description: 'Most entries of a page.', default: defaultLimit }),
  cursor: z
    .string('must be the next of an earlier answer')
    .regex(/^[\w-]{1,2048}$/, 'must be the next of an earlier answer')
    .exactOptional()
    .meta({ description: 'The `next` of the page before.' }),
};

/** Fields whose values must not come back in a message. */
const secretFields: readonly string[] = ['secret'];

/** The query, or the body of an SDK, which sends a GET as POST with `_method`. Throws INVALID_REQUEST by name and value. */
export function readQuery<T>(schema: z.ZodType<T>, request: Request): T {
  const body: unknown = request.body;
  const given = { ...(isJsonObject(body) && body), ...request.query };
  return parse(schema, given, name => `unknown parameter ${describe(name)}`);
}

/** Names are lower-case. */
export function readHeaders<T>(schema: z.ZodType<T>, request: Request): T {
  return parse(schema, request.headers, describe);
}

/** Throws INVALID_REQUEST that names field and value; of a secret, the field alone. */
export function readBody<T>(schema: z.ZodType<T>, request: Request): T {
  return parse(schema, jsonBody(request), name => `unknown field ${describe(name)}`);
}

/** For bodies that others check. Throws INVALID_REQUEST for what is no object. */
export function jsonBody(request: Request): Readonly<Record<string, unknown>> {
  const body: unknown = request.body ?? {};
  if (isJsonObject(body)) return body;
  throw new WebhookError('INVALID_REQUEST', 'the body must be a JSON object');
}

/** A part of the path. Throws INVALID_REQUEST for text that no name or id can be. */
export function readPathText(request: Request, name: string): string {
  return parse(z.object({ [name]: idText }), request.params, describe)[name] ?? '';
}

function parse<T>(schema: z.ZodType<T>, given: unknown, nameUnknown: (name: string) => string): T {
  const parsed = schema.safeParse(given);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  const unknown = issue?.code === 'unrecognized_keys' ? issue.keys[0] : undefined;
  if (unknown !== undefined && issue?.path.length === 0) throw invalidRequest(nameUnknown(unknown));
  const name = String(issue?.path[0] ?? '');
  const value = secretFields.includes(name) || !isJsonObject(given) ? '' : `, got ${describe(given[name])}`;
  throw invalidRequest(`${name || 'the request'} ${issue?.message ?? 'is invalid'}${value}`);
}

export function invalidRequest(message: string): WebhookError {
  return new WebhookError('INVALID_REQUEST', message);
}
