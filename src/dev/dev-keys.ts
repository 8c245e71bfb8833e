// The keys of the local stack: made once and kept in the data folder, so that no two machines share a master key.
// A page in a browser can send requests to a loopback port, so a master key printed in a README would not do.
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { systemClock } from '../shared/clock';
import { describeError, errorCode, StartError } from './start-error';

const storedKeys = z.object({ masterKey: z.string().min(1), webhookKey: z.string().min(1) });

export type DevKeys = Readonly<z.infer<typeof storedKeys>>;

/** The keys in `dataDirectory/keys.json`, made (mode 0600) if there are none. */
export async function loadDevKeys(dataDirectory: string): Promise<DevKeys> {
  const file = join(dataDirectory, 'keys.json');
  try {
    await mkdir(dataDirectory, { recursive: true, mode: 0o700 });
    const created = { masterKey: randomKey(), webhookKey: randomKey() };
    try {
      await writeFile(file, `${JSON.stringify(created, undefined, 2)}\n`, { mode: 0o600, flag: 'wx' });
      return created;
    } catch (error) {
      if (errorCode(error) !== 'EEXIST') throw error;
    }
  } catch (error) {
    throw new StartError(`cannot write to the data folder ${dataDirectory}: ${describeError(error)}`, error);
  }
  try {
    return storedKeys.parse(JSON.parse(await readFile(file, 'utf8')));
  } catch (error) {
    if (errorCode(error) !== undefined)
      throw new StartError(`cannot read ${file}: ${describeError(error)}`, error);
    throw new StartError(`${file} holds no valid keys: remove it, and new ones are made`, error);
  }
}

function randomKey(): string {
  return systemClock.randomBytes(24).toString('base64url');
}
