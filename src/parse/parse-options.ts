// What of Parse Server's options this package reads or wraps, and how cloud code is run.
import { createRequire } from 'node:module';
import { resolve } from 'node:path';
import type { NextFunction, Request, Response } from 'express';
import { WebhookError } from '../errors';
import type { ParseSdk } from './internals';

/** The fields of ParseServerOptions that this package needs to know; all others pass through untouched. */
export interface WrappedOptions {
  appId?: string;
  cloud?: unknown;
  requestContextMiddleware?: unknown;
}

export type Middleware = (request: Request, response: Response, next: NextFunction) => void;

/**
 * Runs the application's cloud code the way ParseServer.start does: a function with Parse, or a path relative to the
 * working directory, loaded with import() in an ESM package and require() elsewhere.
 */
export async function runCloudCode(cloud: unknown, sdk: ParseSdk): Promise<void> {
  if (cloud === undefined || cloud === null || cloud === '') return;
  if (typeof cloud === 'function') {
    await (cloud as (parse: ParseSdk) => unknown)(sdk);
  } else if (typeof cloud === 'string') {
    const path = resolve(process.cwd(), cloud);
    if (isModulePackage()) await import(path);
    else createRequire(__filename)(path);
  } else {
    throw new WebhookError('INVALID_OPTION', "argument 'cloud' must either be a string or a function");
  }
}

function isModulePackage(): boolean {
  if (process.env.npm_package_type === 'module') return true;
  const packagePath = process.env.npm_package_json;
  if (packagePath === undefined) return false;
  return (createRequire(__filename)(packagePath) as { type?: string }).type === 'module';
}

/** True for a request with the master key (lib/middlewares.js sets `auth`). */
export function isMasterRequest(request: Request): boolean {
  return (request as Request & { auth?: { isMaster?: boolean } }).auth?.isMaster === true;
}

/** Puts `middleware` before the application's own requestContextMiddleware. */
export function chain(middleware: Middleware, own: unknown): Middleware {
  if (own === undefined || own === null) return middleware;
  if (typeof own !== 'function') {
    throw new WebhookError('INVALID_OPTION', 'requestContextMiddleware must be a function');
  }
  const ownMiddleware = own as Middleware;
  return (request, response, next) => {
    middleware(request, response, (error?: unknown) => {
      if (error !== undefined) next(error);
      else ownMiddleware(request, response, next);
    });
  };
}
