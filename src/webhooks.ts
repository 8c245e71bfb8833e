// The public face: one Webhooks serves one Parse Server, from configure() over its start to stop().
import type { RequestHandler } from 'express';
import { parseCodes, WebhookError } from './errors';
import type { PublishedEvent, PublishOptions } from './events/event-publisher';
import { parseOptions, type ResolvedOptions, type WebhooksOptions } from './options';
import { CallDepth } from './parse/call-depth';
import { assertUsableRouter } from './parse/install-check';
import { loadInternals, type ParseInternals } from './parse/internals';
import { chain, isMasterRequest, runCloudCode, type WrappedOptions } from './parse/parse-options';
import { TriggerSeats } from './parse/trigger-seats';
import { Running } from './running';
import { systemClock } from './shared/clock';

/** What lives from configure() to stop(). */
interface Configured {
  readonly applicationId: string;
  readonly internals: ParseInternals;
  readonly seats: TriggerSeats;
  readonly depth: CallDepth;
  isStopped: boolean;
  /** The start under way; settles in any case. */
  starting: Promise<void>;
}

/**
 * Webhooks for one Parse Server. Give Parse Server's options to `configure` before you create it, and call `stop`
 * at shutdown.
 *
 * @example
 * const webhooks = new Webhooks();
 * const server = new ParseServer(webhooks.configure({ databaseURI, appId, masterKey, serverURL }));
 */
export class Webhooks {
  readonly #options: ResolvedOptions;
  readonly #clock = systemClock;
  #configured: Configured | undefined;
  #running: Running | undefined;
  /** True once the hooks and keys of the database are in force. */
  #inForce = false;

  /** Throws a WebhookError (INVALID_OPTION) that names field and value. */
  constructor(options: WebhooksOptions = {}) {
    this.#options = parseOptions(options);
  }

  /**
   * Returns the options for Parse Server: `cloud` and `requestContextMiddleware` are wrapped, all others are the
   * same. Throws a WebhookError: BROKEN_INSTALL when this Parse Server cannot work, INVALID_OPTION when called twice.
   */
  configure<T extends object>(serverOptions: T): T {
    if (this.#configured) {
      throw new WebhookError(
        'INVALID_OPTION',
        'configure() was called twice: one Webhooks serves one Parse Server',
      );
    }
    const { appId, cloud, requestContextMiddleware } = serverOptions as WrappedOptions;
    if (typeof appId !== 'string' || appId === '') {
      throw new WebhookError('INVALID_OPTION', 'appId must be given to configure()');
    }
    const internals = loadInternals();
    assertUsableRouter(internals);
    const depth = new CallDepth();
    const seats = new TriggerSeats(appId, internals.triggers, async (key, request, own) =>
      this.#running ? this.#running.dispatcher.dispatch(key, request, own) : own?.(request),
    );
    seats.intercept();
    const configured: Configured = {
      applicationId: appId,
      internals,
      seats,
      depth,
      isStopped: false,
      starting: Promise.resolve(),
    };
    this.#configured = configured;
    const middleware: RequestHandler = (request, response, next) => {
      depth.runRequest({ headers: request.headers, isMaster: isMasterRequest(request) }, () => {
        if (this.#running) void this.#running.api(request, response, next);
        else next();
      });
    };
    return {
      ...serverOptions,
      cloud: (parse: unknown) => this.#start(configured, cloud, parse),
      requestContextMiddleware: chain(middleware, requestContextMiddleware),
    };
  }

  /**
   * An express handler to mount beside Parse, as `app.use('/webhooks', webhooks.router())`: public keys for everybody,
   * metrics and health for who has the `metricsToken`. Answers 503 until Parse Server has started.
   */
  router(): RequestHandler {
    return (request, response, next) => {
      // Earlier there would be no keys in it, and gateways would cache that.
      if (this.#running && this.#inForce) void this.#running.publicRouter(request, response, next);
      else response.status(503).json({ code: parseCodes.scriptFailed, error: 'webhooks are not running' });
    };
  }

  /**
   * Publishes a custom event to the subscriptions that listen to it; resolves when its deliveries are durable. `type`:
   * `custom.` and a dotted name; `data`: a JSON object of at most 256 KiB. Throws a WebhookError: INVALID_EVENT, which names
   * the field, STORE_FAILED, NOT_RUNNING before Parse Server has started and after `stop`.
   */
  async publish(type: string, data: unknown, options?: PublishOptions): Promise<PublishedEvent> {
    if (!this.#running || !this.#inForce) throw new WebhookError('NOT_RUNNING', 'webhooks are not running');
    return this.#running.publish(type, data, options);
  }

  /**
   * Waits for a start and for deliveries under way (the latter for at most `drainTimeoutMs`), takes the hooks out of
   * force and closes all connections. Safe to call twice. Call it once the HTTP server has closed: a save that comes
   * later, or is still under way, meets no hook and has no deliveries.
   */
  async stop(): Promise<void> {
    const configured = this.#configured;
    if (!configured) return;
    configured.isStopped = true;
    await configured.starting;
    const running = this.#running;
    this.#inForce = false;
    await running?.close();
    this.#running = undefined;
    configured.seats.restore();
    if (this.#configured === configured) this.#configured = undefined;
  }

  /** Runs inside ParseServer.start(), when the database is ready and before requests are answered. */
  async #start(configured: Configured, cloud: unknown, parse: unknown): Promise<void> {
    if (configured.isStopped) {
      throw new WebhookError(
        'INVALID_OPTION',
        'these webhooks were stopped: make new ones and call configure() again',
      );
    }
    const start = this.#open(configured, cloud, parse);
    configured.starting = start.catch(() => undefined);
    await start;
  }

  async #open(configured: Configured, cloud: unknown, parse: unknown): Promise<void> {
    const { internals, seats, depth, applicationId } = configured;
    if (parse !== internals.sdk) {
      throw new WebhookError(
        'BROKEN_INSTALL',
        'the parse-server that starts is not the one that parse-server-webhooks loads: two copies are installed',
      );
    }
    const config = internals.configOf(applicationId);
    const running = await Running.open({
      options: this.#options,
      internals,
      config,
      seats,
      depth,
      clock: this.#clock,
    });
    this.#running = running;
    try {
      seats.beginCloudCode();
      await runCloudCode(cloud, internals.sdk);
      if (!configured.isStopped) await running.putInForce();
      this.#inForce = true;
    } catch (error) {
      // Parse Server may be started again: what this start took must be free by then.
      this.#running = undefined;
      seats.setHooked(new Map());
      seats.endCloudCode();
      await running.close();
      throw error;
    }
  }
}
