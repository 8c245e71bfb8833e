// The part of parse-dashboard 9.2 that the local stack uses; the package has no types of its own.
declare module 'parse-dashboard' {
  import type { Express } from 'express';

  interface DashboardApp {
    readonly serverURL: string;
    readonly appId: string;
    readonly masterKey: string;
    readonly appName: string;
  }

  const ParseDashboard: new (
    config: { readonly apps: readonly DashboardApp[] },
    options: { readonly allowInsecureHTTP: boolean; readonly cookieSessionSecret: string },
  ) => Express;
  export = ParseDashboard;
}
