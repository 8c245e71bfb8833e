// A process that makes one exchange with the URL in its arguments and prints what came of it, as JSON.
import { createAddressGuard } from '../../src/http/address-guard';
import { createExchangeClient } from '../../src/http/undici-client';
import { parseNetworkOptions } from '../../src/shared/network-options';

async function main(): Promise<void> {
  const guard = createAddressGuard(parseNetworkOptions({}));
  const client = createExchangeClient({ lookup: guard.lookup });
  const result = await client.exchange({
    url: process.argv[2] ?? '',
    headers: {},
    body: Buffer.from('{}'),
    timeoutMs: 10_000,
    maxReplyBytes: 1000,
  });
  await client.close();
  const status = result.kind === 'reply' ? result.status : result.failure;
  process.stdout.write(`result ${status}\n`);
}

void main();
