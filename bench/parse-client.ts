// REST calls of a benchmark: registering hooks and subscriptions, and the requests that the load process repeats.
import { isJsonObject, type JsonObject } from '../src/shared/json';
import type { LoadRequest } from './load-protocol';
import type { BenchServer } from './scene';
import { appId, masterKey } from './server-protocol';

const clientHeaders = { 'x-parse-application-id': appId, 'content-type': 'application/json' };
export const masterHeaders = { ...clientHeaders, 'x-parse-master-key': masterKey };

export interface RestAnswer {
  readonly status: number;
  readonly body: JsonObject;
}

/** A request with the master key. */
export async function callAsMaster(
  server: BenchServer,
  call: { readonly method: string; readonly path: string; readonly body?: object },
): Promise<RestAnswer> {
  const reply = await fetch(`${server.origin}/parse${call.path}`, {
    method: call.method,
    headers: masterHeaders,
    ...(call.body && { body: JSON.stringify(call.body) }),
  });
  const text = await reply.text();
  let body: unknown;
  try {
    body = JSON.parse(text);
  } catch {
    // A route that is not there answers with a page.
    body = { error: text };
  }
  return { status: reply.status, body: isJsonObject(body) ? body : {} };
}

/** Throws when the server refuses it. */
export async function createHook(server: BenchServer, hook: Readonly<Record<string, string>>): Promise<void> {
  const path = 'functionName' in hook ? '/hooks/functions' : '/hooks/triggers';
  const { status, body } = await callAsMaster(server, { method: 'POST', path, body: hook });
  if (status !== 200) throw new Error(`hook refused: ${JSON.stringify(body)}`);
}

/** Its objectId. Throws when the server refuses it. */
export async function createSubscription(
  server: BenchServer,
  fields: Readonly<Record<string, unknown>>,
): Promise<string> {
  const answer = await callAsMaster(server, {
    method: 'POST',
    path: '/webhooks/subscriptions',
    body: fields,
  });
  const { objectId } = answer.body;
  if (answer.status !== 201 || typeof objectId !== 'string') {
    throw new Error(`subscription refused: ${answer.status} ${JSON.stringify(answer.body)}`);
  }
  return objectId;
}

/** A body of about `bytes` bytes. */
export function objectOf(bytes: number, fields: JsonObject = {}): string {
  return JSON.stringify({ number: 1, ...fields, text: 'x'.repeat(Math.max(1, bytes - 40)) });
}

export type Pace = LoadRequest['pace'];

/** Requests of a client to create objects of a class, or to call a cloud function. */
export function clientRequest(
  server: BenchServer,
  request: { readonly path: string; readonly body: string; readonly requests: number; readonly pace: Pace },
): LoadRequest {
  const { path, body, requests, pace } = request;
  return {
    origin: server.origin,
    headers: clientHeaders,
    method: 'POST',
    paths: [`/parse${path}`],
    body,
    requests,
    pace,
  };
}
