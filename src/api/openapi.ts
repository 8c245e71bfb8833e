// The OpenAPI 3.1 document: operations as data in, one JSON object out. Schemas with an id become components.
import { z } from 'zod';
import { isJsonObject, type JsonObject, type JsonValue } from '../shared/json';
import { version } from '../shared/version';
import type { Operation, OperationAnswer } from './operation';

export const describeSelf = {
  method: 'get',
  path: '/openapi.json',
  operationId: 'getOpenApi',
  summary: 'This document',
  answers: { 200: { description: 'OpenAPI 3.1', schema: z.looseObject({ openapi: z.string() }) } },
} satisfies Operation;

const errorSchema = z
  .strictObject({
    code: z.int().meta({ description: "Parse's error code." }),
    error: z.string().meta({ description: 'Names what is wrong, with field and value.' }),
  })
  .meta({ id: 'Error' });

/** Descriptions of the errors that any operation may answer. */
const errors = {
  400: 'The request is not valid',
  403: 'Without the master key, or a write with the read-only one',
  404: 'What the path names is not there',
  500: 'A mistake of the server, which is in its log',
  503: 'The database is away, busy or full: try again later',
};

/** The document of these operations. Its servers entry is relative to its own address, whatever the mount path is. */
export function describeApi(operations: readonly Operation[]): JsonObject {
  const components = new Map<string, JsonValue>();
  const paths = new Map<string, Record<string, JsonObject>>();
  for (const operation of operations) {
    const path = `/webhooks${operation.path.replace(/:(\w+)/g, '{$1}')}`;
    const item = paths.get(path) ?? {};
    item[operation.method] = describeOperation(operation, components);
    paths.set(path, item);
  }
  return {
    openapi: '3.1.0',
    info: {
      title: 'parse-server-webhooks',
      version,
      description:
        'Hooks, subscriptions and deliveries. Registration of hooks is at `/hooks`, where Parse Server has it.',
    },
    servers: [{ url: '..', description: 'Where Parse Server is mounted.' }],
    security: [{ applicationId: [], masterKey: [] }],
    paths: Object.fromEntries(paths),
    components: {
      schemas: Object.fromEntries([...components].sort(([a], [b]) => (a < b ? -1 : 1))),
      securitySchemes: {
        applicationId: { type: 'apiKey', in: 'header', name: 'X-Parse-Application-Id' },
        masterKey: { type: 'apiKey', in: 'header', name: 'X-Parse-Master-Key' },
      },
    },
  };
}

function describeOperation(operation: Operation, components: Map<string, JsonValue>): JsonObject {
  const { operationId, summary, path, query, headers, body, answers } = operation;
  const parameters = [
    ...[...path.matchAll(/:(\w+)/g)].map(([, name = '']) => ({
      name,
      in: 'path',
      required: true,
      schema: { type: 'string' },
    })),
    ...describeParameters('query', query),
    ...describeParameters('header', headers),
  ];
  const describe = (answer: OperationAnswer): JsonObject => ({
    description: answer.description,
    ...(answer.schema && {
      content: {
        [answer.mediaType ?? 'application/json']: {
          schema: describeSchema(answer.schema, 'output', components),
        },
      },
    }),
  });
  const all = [
    ...Object.entries(errors).map(
      ([status, description]) => [status, { description, schema: errorSchema }] as const,
    ),
    // Last: an operation may have a word of its own for one of these.
    ...Object.entries(answers),
  ];
  return {
    operationId,
    summary,
    ...(parameters.length > 0 && { parameters }),
    ...(body && {
      requestBody: {
        required: !body.safeParse({}).success,
        content: { 'application/json': { schema: describeSchema(body, 'input', components) } },
      },
    }),
    responses: Object.fromEntries(all.map(([status, answer]) => [status, describe(answer)])),
  };
}

function describeParameters(
  place: 'query' | 'header',
  shape: z.ZodObject | undefined,
): readonly JsonObject[] {
  return Object.entries(shape?.shape ?? {}).map(([name, field]) => {
    const { description, ...schema } = toJson(z.toJSONSchema(field, { io: 'input' }));
    return {
      name,
      in: place,
      ...(description !== undefined && { description }),
      // A list is written with commas.
      ...(schema.type === 'array' && { style: 'form', explode: false }),
      schema: withoutDialect(schema),
    };
  });
}

/** The schema, or a reference if it has an id: what has one is put among the components. */
function describeSchema(
  schema: z.ZodType,
  io: 'input' | 'output',
  components: Map<string, JsonValue>,
): JsonObject {
  const { $defs, ...described } = toJson(z.toJSONSchema(schema, { io }));
  for (const [id, each] of Object.entries(toJson($defs))) components.set(id, withoutDialect(toJson(each)));
  return withoutDialect(described);
}

/** The document says once which dialect all schemas are of; references lead to its components. */
function withoutDialect({ $schema: _schema, ...schema }: JsonObject): JsonObject {
  return toJson(JSON.parse(JSON.stringify(schema).replaceAll('"#/$defs/', '"#/components/schemas/')));
}

function toJson(value: unknown): JsonObject {
  const copy: unknown = JSON.parse(JSON.stringify(value ?? {}));
  if (isJsonObject(copy)) return copy;
  throw new TypeError('a schema must be an object');
}
