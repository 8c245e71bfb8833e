// What `npm start` reads from the environment: parsed once, every refusal naming the variable and, unless it is a
// secret, its value.
import { resolve } from 'node:path';
import { z } from 'zod';
import { createVerifier } from '../receiver/index';
import { StartError } from './start-error';

export interface DevOptions {
  /** Port of Parse Server and the Dashboard on 127.0.0.1; 0: a free one. Default 1337. */
  readonly port: number;
  /** Port of the sample receiver on 127.0.0.1; 0: a free one. Default 3001. */
  readonly receiverPort: number;
  /** What the sample receiver takes calls by, `whsec_…` or `whpk_…`. Undefined: the generated one of the data folder. */
  readonly receiverSecrets: readonly string[] | undefined;
  /** Absolute path of the folder of keys, database and logs. Default `.data` in the working directory. */
  readonly dataDirectory: string;
  /** Where Parse Server is mounted. Default `/parse`. */
  readonly mountPath: string;
  readonly appId: string;
  /** Undefined: the generated one of the data folder. */
  readonly masterKey: string | undefined;
  /** Undefined: the generated one of the data folder. */
  readonly webhookKey: string | undefined;
  /** Undefined: an embedded PostgreSQL. */
  readonly databaseUri: string | undefined;
}

const port = z.coerce.number().int().min(0).max(65535);

const variables = z.object({
  PORT: port.default(1337),
  RECEIVER_PORT: port.default(3001),
  RECEIVER_SECRET: z
    .string()
    .refine(text => areSecrets(splitSecrets(text)))
    .optional(),
  DATA_DIR: z.string().default('.data'),
  PARSE_SERVER_MOUNT_PATH: z
    .string()
    .regex(/^(?:\/[\w.~-]+)+$/)
    .refine(path => path !== '/dashboard')
    .default('/parse'),
  PARSE_SERVER_APPLICATION_ID: z
    .string()
    .regex(/^[\w.~-]+$/)
    .default('webhooks-dev'),
  PARSE_SERVER_MASTER_KEY: z.string().optional(),
  PARSE_SERVER_WEBHOOK_KEY: z.string().optional(),
  PARSE_SERVER_DATABASE_URI: z
    .string()
    .regex(/^(?:postgres|postgresql|mongodb|mongodb\+srv):\/\/[^/?#]+/)
    .optional(),
});

const expectations: Record<keyof z.infer<typeof variables>, string> = {
  PORT: 'an integer in 0..65535',
  RECEIVER_PORT: 'an integer in 0..65535',
  RECEIVER_SECRET: 'secrets (whsec_ and the base64 of 24 to 64 bytes), separated by spaces',
  DATA_DIR: 'a path',
  PARSE_SERVER_MOUNT_PATH: 'a path such as /parse, other than /dashboard',
  PARSE_SERVER_APPLICATION_ID: 'letters, digits and -._~',
  PARSE_SERVER_MASTER_KEY: 'a string',
  PARSE_SERVER_WEBHOOK_KEY: 'a string',
  PARSE_SERVER_DATABASE_URI: 'a postgres:// or mongodb:// address with a host',
};

/** The options in `environment`. An empty variable counts as absent, as it does for Parse Server's own command. */
export function parseDevOptions(environment: Readonly<Record<string, string | undefined>>): DevOptions {
  const given = Object.fromEntries(Object.entries(environment).filter(([, value]) => value !== ''));
  const parsed = variables.safeParse(given);
  if (!parsed.success) throw new StartError(describeRefusal(parsed.error, given));
  const { data } = parsed;
  return {
    port: data.PORT,
    receiverPort: data.RECEIVER_PORT,
    receiverSecrets: data.RECEIVER_SECRET === undefined ? undefined : splitSecrets(data.RECEIVER_SECRET),
    dataDirectory: resolve(data.DATA_DIR),
    mountPath: data.PARSE_SERVER_MOUNT_PATH,
    appId: data.PARSE_SERVER_APPLICATION_ID,
    masterKey: data.PARSE_SERVER_MASTER_KEY,
    webhookKey: data.PARSE_SERVER_WEBHOOK_KEY,
    databaseUri: data.PARSE_SERVER_DATABASE_URI,
  };
}

function describeRefusal(error: z.ZodError, given: Readonly<Record<string, string | undefined>>): string {
  const name = z.keyof(variables).parse(error.issues[0]?.path[0]);
  const refusal = `${name} must be ${expectations[name]}`;
  // One that is not well formed may still be most of a secret.
  return name === 'RECEIVER_SECRET' ? refusal : `${refusal}, got "${hidePassword(given[name] ?? '')}"`;
}

function splitSecrets(text: string): readonly string[] {
  return text.split(' ').filter(secret => secret !== '');
}

/** True for what the receiver kit takes as its `secret`. */
function areSecrets(secrets: readonly string[]): boolean {
  try {
    createVerifier(secrets);
    return true;
  } catch {
    return false;
  }
}

/** `text` without the credentials of an address in it. */
export function hidePassword(text: string): string {
  return text.replace(/^([\w+]+:\/\/)?.*@/, '$1***@');
}
