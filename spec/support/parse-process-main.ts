// The program of parse-process.ts: a Parse Server with this plugin, told what to do over the IPC channel.
import './quiet-parse-server';
import { startParseApplication, type ApplicationOptions } from './parse-application';

async function main(): Promise<void> {
  const options = JSON.parse(process.argv[2] ?? '') as ApplicationOptions;
  const parse = await startParseApplication(options);
  process.once('message', () => {
    void parse.stop().then(() => process.disconnect());
  });
  process.send?.({ serverURL: parse.serverURL });
}

main().catch((error: unknown) => {
  process.send?.({ error: String(error) });
  process.exitCode = 1;
  process.disconnect();
});
