// The published Parse Dashboard on a port of its own, in a process of its own: when it is loaded it asks the npm
// registry for its newest version (parse-dashboard/Parse-Dashboard/app.js), a request that can outlive a test file.
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';

export interface DashboardOptions {
  readonly serverURL: string;
  readonly appId: string;
  readonly masterKey: string;
  /** Also the app's part of the Dashboard's paths. */
  readonly appName: string;
}

export interface DashboardProcess {
  /** Address of the app's Webhooks page. */
  readonly webhooksUrl: string;
  stop(): Promise<void>;
}

export async function startDashboard(options: DashboardOptions): Promise<DashboardProcess> {
  const child = fork(join(__dirname, 'parse-dashboard-main.ts'), [JSON.stringify(options)], {
    execArgv: ['--import', 'tsx'],
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  });
  const gone = once(child, 'exit');
  const started = await Promise.race([once(child, 'message'), gone.then(() => undefined)]);
  if (started === undefined) throw new Error('the Dashboard does not start');
  const [{ port }] = started as [{ readonly port: number }];
  return {
    webhooksUrl: `http://127.0.0.1:${port}/dashboard/apps/${options.appName}/webhooks`,
    stop: async () => {
      if (child.connected) child.disconnect();
      await gone;
    },
  };
}
