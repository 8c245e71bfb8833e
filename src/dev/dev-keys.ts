// The keys of the local stack: made once and kept in the data folder, so that no two machines share a master key.
// A page in a browser can send requests to a loopback port, so a master key printed in a README would not do.
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { systemClock } from '../shared/clock';
import { decodeSecret, generateSecret } from '../shared/secret-format';
import { describeError, errorCode, StartError } from './start-error';

const devKeys = z.object({
  masterKey: z.string().min(1),
  webhookKey: z.string().min(1),
  /** `whsec_…`: what the sample receiver takes calls by, and the hooks that call it sign with. */
  receiverSecret: z.string().refine(isSecret),
});

// A folder from before the sample receiver asked for signatures has no secret, and must keep its master key.
const storedKeys = devKeys.partial({ receiverSecret: true });

export type DevKeys = Readonly<z.infer<typeof devKeys>>;

/** The keys in `dataDirectory/keys.json`; those that are not there are made (mode 0600). Throws a StartError. */
export async function loadDevKeys(dataDirectory: string): Promise<DevKeys> {
  const file = join(dataDirectory, 'keys.json');
  const created = {
    masterKey: randomKey(),
    webhookKey: randomKey(),
    receiverSecret: generateSecret(systemClock),
  };
  try {
    await mkdir(dataDirectory, { recursive: true, mode: 0o700 });
    await writeFile(file, textOf(created), { mode: 0o600, flag: 'wx' });
    return created;
  } catch (error) {
    if (errorCode(error) !== 'EEXIST') throw cannotWrite(dataDirectory, error);
  }
  const { receiverSecret = created.receiverSecret, ...others } = await readKeys(file);
  const keys = { ...others, receiverSecret };
  if (receiverSecret === created.receiverSecret) {
    try {
      // In two steps: a full disk must not cost the master key.
      await writeFile(`${file}.new`, textOf(keys), { mode: 0o600 });
      await rename(`${file}.new`, file);
    } catch (error) {
      throw cannotWrite(dataDirectory, error);
    }
  }
  return keys;
}

async function readKeys(file: string): Promise<z.infer<typeof storedKeys>> {
  try {
    return storedKeys.parse(JSON.parse(await readFile(file, 'utf8')));
  } catch (error) {
    if (errorCode(error) !== undefined)
      throw new StartError(`cannot read ${file}: ${describeError(error)}`, error);
    throw new StartError(`${file} holds no valid keys: remove it, and new ones are made`, error);
  }
}

function cannotWrite(dataDirectory: string, error: unknown): StartError {
  return new StartError(`cannot write to the data folder ${dataDirectory}: ${describeError(error)}`, error);
}

function textOf(keys: DevKeys): string {
  return `${JSON.stringify(keys, undefined, 2)}\n`;
}

function randomKey(): string {
  return systemClock.randomBytes(24).toString('base64url');
}

function isSecret(text: string): boolean {
  try {
    decodeSecret(text);
    return true;
  } catch {
    // Why does not matter: the one advice is to make new keys.
    return false;
  }
}
