// One operation of the API as data: the schemas that check its requests are those that describe it.
import type { Request, Router } from 'express';
import { z } from 'zod';
import type { JsonObject } from '../shared/json';

export type Method = 'get' | 'post' | 'put' | 'patch' | 'delete';

export interface OperationAnswer {
  readonly description: string;
  readonly schema?: z.ZodType;
  /** Default `application/json`. */
  readonly mediaType?: string;
}

export interface Operation {
  readonly method: Method;
  /** As express writes it, below `/webhooks`. */
  readonly path: string;
  readonly summary: string;
  /** Unique; also the name of the method in generated clients. */
  readonly operationId: string;
  readonly query?: z.ZodObject;
  readonly headers?: z.ZodObject;
  readonly body?: z.ZodType;
  /** By status, without the errors that every operation may answer. */
  readonly answers: Readonly<Record<number, OperationAnswer>>;
}

export interface Answered {
  /** Default 200. */
  readonly status?: number;
  readonly body: JsonObject;
}

/** Serves an operation; what `answer` throws goes to the error handlers behind the router. */
export function mountOperation(
  router: Router,
  { method, path }: Operation,
  answer: (request: Request) => Promise<Answered>,
): void {
  router[method](path, async (request, response) => {
    const { status = 200, body } = await answer(request);
    response.status(status).json(body);
  });
}

/** ISO 8601 with milliseconds, UTC. */
export const isoTime = z.iso.datetime({ precision: 3 });

export const nextCursor = z.string().optional().meta({ description: 'Absent on the last page.' });

/** The answer of what has nothing to say. */
export const emptyAnswer = z.strictObject({}).meta({ id: 'Empty' });

export const countAnswer = z
  .strictObject({ count: z.int().min(0).meta({ description: 'How many deliveries it was about.' }) })
  .meta({ id: 'Count' });

/** `secret/rotate` of hooks and subscriptions; the range of graceMs is the registries' to check. */
export const secretRotation = z
  .strictObject({
    secret: z
      .string('must be a string that begins with whsec_')
      .exactOptional()
      .meta({ description: '`whsec_` and the base64 of 24 to 64 bytes. Default a new random one.' }),
    graceMs: z.number('must be a number').exactOptional().meta({
      description: 'How long the former secret signs along, in milliseconds: 0..7776000000, default one day.',
    }),
  })
  .meta({ id: 'SecretRotation' });

export function toIso(at: number): string {
  return new Date(at).toISOString();
}
