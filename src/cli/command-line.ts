// Reads the command line and runs one command; what goes wrong becomes one line and an exit code.
import { createRequire } from 'node:module';
import { Command, CommanderError } from 'commander';
import { WebhookError } from '../index';
import { UsageError } from './usage-error';
import { createWorkerCommand } from './worker-command';

/**
 * Exit codes. `failed`: it could not start, or not end in order. `usage`: the command line, the configuration or an
 * option is wrong, and trying again is of no use.
 */
export const exitCodes = { done: 0, failed: 1, usage: 2 } as const;
export type ExitCode = (typeof exitCodes)[keyof typeof exitCodes];

/** Never fails. `words`: without the names of node and the program. */
export async function runCommandLine(words: readonly string[]): Promise<ExitCode> {
  const program = new Command('parse-server-webhooks')
    .description('Webhooks for Parse Server: programs that run beside it.')
    .version(readVersion())
    .exitOverride()
    .addHelpText('after', '\nExit codes: 0 done, 1 failed, 2 wrong use or configuration.');
  for (const command of [createWorkerCommand()]) {
    program.addCommand(command.copyInheritedSettings(program));
  }
  try {
    await program.parseAsync(words, { from: 'user' });
    return exitCodes.done;
  } catch (error) {
    // commander has printed what it has to say.
    if (error instanceof CommanderError) return error.exitCode === 0 ? exitCodes.done : exitCodes.usage;
    process.stderr.write(`error: ${messageOf(error)}\n`);
    const isUsage =
      error instanceof UsageError || (error instanceof WebhookError && error.code === 'INVALID_OPTION');
    return isUsage ? exitCodes.usage : exitCodes.failed;
  }
}

/** In one line: a connection that is refused at each address of a name has no message of its own. */
function messageOf(error: unknown): string {
  if (error instanceof AggregateError && error.message === '') {
    return error.errors.map(messageOf).join(', ');
  }
  const text = error instanceof Error ? error.message : String(error);
  return text.replace(/\s*\n\s*/g, ' ').trim() || 'unknown error';
}

function readVersion(): string {
  const { version } = createRequire(__filename)('parse-server-webhooks/package.json') as { version: string };
  return version;
}
