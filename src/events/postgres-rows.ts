// Rows of PostgreSQL as deliveries and attempts, and filters as conditions.
import { isJsonObject, type JsonObject } from '../shared/json';
import { deliveryStates, type Attempt, type Delivery, type DeliverySummary } from './delivery';
import type { DeliveryFilter } from './delivery-store';

export type Row = Readonly<Record<string, unknown>>;

/** The columns of a summary, in a table or alias `d`. */
export const summaryColumns = [
  'id',
  'webhook_id',
  'endpoint',
  'type',
  'class_name',
  'object_id',
  'created_at',
  'is_test',
  'depth',
  'traceparent',
  'state',
  'attempt_count',
  'attempts_before_replay',
  'next_attempt_at',
  'last_status',
  'last_error',
  'finished_at',
]
  .map(column => `d.${column}`)
  .join(', ');

export function parseSummary(row: Row): DeliverySummary {
  const state = deliveryStates.find(known => known === row.state);
  if (state === undefined)
    throw new Error(`delivery ${textOf(row.id)} has the unknown state ${String(row.state)}`);
  return {
    id: textOf(row.id),
    webhookId: textOf(row.webhook_id),
    endpoint: textOf(row.endpoint),
    type: textOf(row.type),
    className: optionalText(row.class_name),
    objectId: optionalText(row.object_id),
    createdAt: numberOf(row.created_at),
    isTest: row.is_test === true,
    depth: numberOf(row.depth),
    traceparent: optionalText(row.traceparent),
    state,
    attemptCount: numberOf(row.attempt_count),
    attemptsBeforeReplay: numberOf(row.attempts_before_replay),
    nextAttemptAt: optionalNumber(row.next_attempt_at),
    lastStatus: optionalNumber(row.last_status),
    lastError: optionalText(row.last_error),
    finishedAt: optionalNumber(row.finished_at),
  };
}

export function parseDelivery(row: Row): Delivery {
  return { ...parseSummary(row), body: textOf(row.body) };
}

export function parseAttempt(row: Row): Attempt {
  return {
    deliveryId: textOf(row.delivery_id),
    number: numberOf(row.number),
    startedAt: numberOf(row.started_at),
    durationMs: numberOf(row.duration_ms),
    status: optionalNumber(row.status),
    error: optionalText(row.error),
    phase: optionalText(row.phase),
    reply: parseReply(row.reply),
    node: textOf(row.node),
  };
}

function parseReply(value: unknown): JsonObject | undefined {
  if (value === null || value === undefined) return undefined;
  const reply: unknown = JSON.parse(textOf(value));
  if (!isJsonObject(reply)) throw new Error('an attempt has a reply that is not a JSON object');
  return reply;
}

export function textOf(value: unknown): string {
  if (typeof value !== 'string') throw new Error(`expected a text of the database, got ${typeof value}`);
  return value;
}

/** pg gives bigint as text, unless somebody set another parser for the process. */
export function numberOf(value: unknown): number {
  const number = typeof value === 'string' || typeof value === 'bigint' ? Number(value) : value;
  if (typeof number !== 'number' || Number.isNaN(number)) {
    throw new Error(`expected a number of the database, got ${typeof value}`);
  }
  return number;
}

function optionalText(value: unknown): string | undefined {
  return value === null || value === undefined ? undefined : textOf(value);
}

export function optionalNumber(value: unknown): number | undefined {
  return value === null || value === undefined ? undefined : numberOf(value);
}

/** Values of a statement, numbered as they are added. */
export class Parameters {
  readonly values: unknown[] = [];

  /** The placeholder that stands for `value`. */
  add(value: unknown): string {
    this.values.push(value);
    return `$${this.values.length}`;
  }
}

/** A condition on a table or alias `d`, without its WHERE. */
export function conditionOf(
  filter: DeliveryFilter & { readonly id?: string },
  parameters: Parameters,
): string {
  const conditions = ['true'];
  const require = (condition: string, value: unknown): void => {
    if (value !== undefined) conditions.push(`${condition} ${parameters.add(value)}`);
  };
  require('d.id =', filter.id);
  require('d.endpoint =', filter.endpoint);
  require('d.class_name =', filter.className);
  require('d.object_id =', filter.objectId);
  require('d.type =', filter.type);
  require('d.created_at >=', filter.since);
  require('d.created_at <', filter.until);
  if (filter.states !== undefined) conditions.push(stateCondition(filter.states));
  return conditions.join(' AND ');
}

/** States are written out and not sent as values: only so do the partial indexes match. */
function stateCondition(states: NonNullable<DeliveryFilter['states']>): string {
  const known = deliveryStates.filter(state => states.includes(state));
  return known.length === 0 ? 'false' : `d.state IN (${known.map(state => `'${state}'`).join(', ')})`;
}
