// Listens for what ends a server process: uncaught exceptions and rejections that nobody handles.
import { runInThisContext } from 'node:vm';

export interface CrashWatch {
  /** What happened since the last call, as text. */
  take(): readonly string[];
  stop(): void;
}

/** Starts listening. Under jest `process` is a copy that hears of nothing, so the real one is asked. */
export function watchForCrashes(): CrashWatch {
  const real = runInThisContext('process') as NodeJS.Process;
  const crashes: string[] = [];
  const onException = (error: unknown): void => void crashes.push(`uncaughtException: ${describe(error)}`);
  const onRejection = (reason: unknown): void => void crashes.push(`unhandledRejection: ${describe(reason)}`);
  real.on('uncaughtException', onException);
  real.on('unhandledRejection', onRejection);
  return {
    take: () => crashes.splice(0),
    stop: () => {
      real.off('uncaughtException', onException);
      real.off('unhandledRejection', onRejection);
    },
  };
}

function describe(error: unknown): string {
  if (typeof error === 'object' && error !== null && 'stack' in error) return String(error.stack);
  return typeof error === 'string' ? error : JSON.stringify(error);
}
