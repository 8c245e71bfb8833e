// One seat per function or (class, trigger): the cloud code that stands there, and whether a hook does too.
// Parse Server sees one stable dispatcher per seat, so hooks come and go without touching cloud code or validators.
import { withoutWarnings, type CloudHandler, type ParseRequest, type TriggersModule } from './internals';
import { TriggerInterceptor, type Registrar } from './trigger-interceptor';
import { hookKey, type RowName } from '../hooks/hook';

/** Runs what stands on a seat. `cloud` is the application's own handler, if it has one. */
export type Dispatch = (
  key: string,
  request: ParseRequest,
  cloud: CloudHandler | undefined,
) => Promise<unknown>;

/** What the application registered. */
interface CloudCode {
  cloud: CloudHandler | undefined;
  /** As it was given: a function or an object. */
  validator: unknown;
}

interface Seat extends CloudCode {
  readonly target: RowName;
  hooked: boolean;
  /** What was put into lib/triggers.js for it. */
  dispatcher: CloudHandler | undefined;
}

/** The answer object of cloud functions with two parameters (parse-server lib/Routers/FunctionsRouter.js). */
interface ExpressStyleResponse {
  success(result: unknown): void;
}

/** Leads from a dispatcher that stands in lib/triggers.js to the cloud code below it. */
const seatOfDispatcher = new WeakMap<CloudHandler, Readonly<Seat>>();

export class TriggerSeats implements Registrar {
  readonly #applicationId: string;
  readonly #triggers: TriggersModule;
  readonly #dispatch: Dispatch;
  readonly #seats = new Map<string, Seat>();
  #interceptor: TriggerInterceptor | undefined;
  /** Seats of the same application, whose hooks stay in force until the first ones here are. */
  #predecessor: TriggerSeats | undefined;
  #cloudPhase = false;

  constructor(applicationId: string, triggers: TriggersModule, dispatch: Dispatch) {
    this.#applicationId = applicationId;
    this.#triggers = triggers;
    this.#dispatch = dispatch;
  }

  /** From now on every registration of this application comes here, and no more to earlier seats of the same one. */
  intercept(): void {
    const interceptor = TriggerInterceptor.of(this.#triggers);
    const before = interceptor.find(this.#applicationId);
    this.#predecessor = before instanceof TriggerSeats ? before : undefined;
    this.#interceptor = interceptor;
    interceptor.join(this.#applicationId, this);
  }

  /** From now on every registration is the application's; before, the built-in loads its own webhooks (ParseServer.start). */
  beginCloudCode(): void {
    this.#cloudPhase = true;
  }

  /** Undoes beginCloudCode: Parse Server failed to start and may be started again, which loads its own webhooks again. */
  endCloudCode(): void {
    this.#cloudPhase = false;
  }

  /** Ends the interception and takes the hooks away. Cloud code stands in lib/triggers.js again as it was registered. */
  restore(): void {
    this.#release();
    this.#interceptor?.leave(this.#applicationId, this);
    this.#interceptor = undefined;
  }

  /** True when the application's own code stands on a target. */
  hasCloudCode(target: RowName): boolean {
    return (this.#seats.get(hookKey(target)) ?? this.#standingCloudCode(target)).cloud !== undefined;
  }

  /**
   * Makes exactly these targets hooked. Having a trigger registered costs Parse a read of the original: none is left
   * unused. Does nothing where newer seats of the same application have taken the place.
   */
  setHooked(targets: ReadonlyMap<string, RowName>): void {
    if (this.#interceptor?.find(this.#applicationId) !== this) return;
    this.#releasePredecessor();
    for (const [key, seat] of this.#seats) {
      if (!seat.hooked || targets.has(key)) continue;
      seat.hooked = false;
      if (!seat.cloud) this.#leave(seat);
    }
    for (const [key, target] of targets) {
      const seat = this.#seatOf(key, target);
      if (seat.hooked) continue;
      seat.hooked = true;
      if (!seat.dispatcher) withoutWarnings(() => this.#sit(seat));
    }
  }

  register(target: RowName, handler: CloudHandler | undefined, validator: unknown): void {
    if (!this.#cloudPhase && isBuiltInWebhook(handler)) return;
    const seat = this.#seatOf(hookKey(target), target);
    const isDuplicate = seat.cloud !== undefined;
    const stands = handler !== undefined || seat.hooked;
    seat.cloud = handler;
    seat.validator = stands ? validator : undefined;
    // Parse Server's warning is for an application that registers twice, not for one that meets a hook.
    if (isDuplicate) this.#sit(seat);
    else withoutWarnings(() => this.#sit(seat));
    // Parse Server would keep the name with nothing behind it, which breaks the schema of its GraphQL API.
    if (!stands) this.#leave(seat);
  }

  forgetCloudCode(): void {
    for (const seat of this.#seats.values()) {
      seat.cloud = undefined;
      seat.validator = undefined;
      seat.dispatcher = undefined;
      if (seat.hooked) this.#sit(seat);
    }
  }

  #releasePredecessor(): void {
    const predecessor = this.#predecessor;
    this.#predecessor = undefined;
    if (predecessor) predecessor.#release();
  }

  #release(): void {
    this.#releasePredecessor();
    for (const seat of this.#seats.values()) {
      seat.hooked = false;
      this.#leave(seat);
    }
    this.#seats.clear();
  }

  #seatOf(key: string, target: RowName): Seat {
    let seat = this.#seats.get(key);
    if (!seat) {
      seat = { target, ...this.#standingCloudCode(target), hooked: false, dispatcher: undefined };
      this.#seats.set(key, seat);
    }
    return seat;
  }

  /**
   * What was registered before the interception began. A second Parse Server of one process does not register again
   * what it loads from a file (ParseServer.start requires it, and Node loads it once), yet its cloud code is in force.
   */
  #standingCloudCode(target: RowName): CloudCode {
    const handler = this.#standingHandler(target);
    const seat = handler && seatOfDispatcher.get(handler);
    if (seat) return { cloud: seat.cloud, validator: seat.validator };
    const name =
      target.kind === 'function' ? target.functionName : `${target.triggerName}.${target.className}`;
    return {
      cloud: isBuiltInWebhook(handler) ? undefined : handler,
      validator: this.#triggers.getValidator(name, this.#applicationId),
    };
  }

  #standingHandler(target: RowName): CloudHandler | undefined {
    const handler: unknown =
      target.kind === 'function'
        ? this.#triggers.getFunction(target.functionName, this.#applicationId)
        : this.#triggers.getTrigger(target.className, target.triggerName, this.#applicationId);
    return typeof handler === 'function' ? (handler as CloudHandler) : undefined;
  }

  #sit(seat: Seat): void {
    const dispatcher = this.#createDispatcher(seat);
    this.#write(seat.target, dispatcher, masterSkips(seat) ? withoutSkip(seat.validator) : seat.validator);
    seat.dispatcher = dispatcher;
    seatOfDispatcher.set(dispatcher, seat);
  }

  /** Takes the dispatcher away, unless something else has taken its place since. */
  #leave(seat: Seat): void {
    const { target, cloud, validator, dispatcher } = seat;
    seat.dispatcher = undefined;
    if (!dispatcher || this.#standingHandler(target) !== dispatcher) return;
    if (cloud) {
      withoutWarnings(() => {
        this.#write(target, cloud, validator);
      });
    } else if (target.kind === 'function') {
      this.#triggers.removeFunction(target.functionName, this.#applicationId);
    } else {
      this.#triggers.removeTrigger(target.triggerName, target.className, this.#applicationId);
    }
  }

  #write(target: RowName, handler: CloudHandler, validator: unknown): void {
    const { addFunction, addTrigger } = this.#interceptor?.native ?? this.#triggers;
    if (target.kind === 'function') {
      addFunction(target.functionName, handler, validator, this.#applicationId);
    } else {
      addTrigger(target.triggerName, target.className, handler, this.#applicationId, validator);
    }
  }

  #createDispatcher(seat: Seat): CloudHandler {
    const key = hookKey(seat.target);
    // Parse Server gives functions with two parameters a response object and waits for it.
    if (seat.target.kind === 'function' && (seat.cloud?.length ?? 0) >= 2) {
      return (request, response) => this.#runExpressStyle(seat, request, response as ExpressStyleResponse);
    }
    return request => {
      const cloud = request.master === true && masterSkips(seat) ? undefined : seat.cloud;
      return seat.hooked ? this.#dispatch(key, request, cloud) : cloud?.(request);
    };
  }

  async #runExpressStyle(
    seat: Seat,
    request: ParseRequest,
    response: ExpressStyleResponse,
  ): Promise<unknown> {
    const { cloud } = seat;
    if (!seat.hooked) return cloud?.(request, response);
    const ran = { own: false };
    const own: CloudHandler | undefined =
      cloud &&
      (inner => {
        ran.own = true;
        return cloud(inner, response);
      });
    const result = await this.#dispatch(hookKey(seat.target), request, own);
    if (!ran.own) response.success(result);
    return ran.own ? result : undefined;
  }
}

/**
 * `skipWithMasterKey` is about the application's own trigger. Parse Server would leave out the whole seat, and with it
 * the hook: so it is taken out of the validator, and the seat does the skipping.
 */
function masterSkips({ target, validator }: Seat): boolean {
  return (
    target.kind === 'trigger' &&
    typeof validator === 'object' &&
    validator !== null &&
    Boolean((validator as { skipWithMasterKey?: unknown }).skipWithMasterKey)
  );
}

function withoutSkip(validator: unknown): object {
  return { ...(validator as object), skipWithMasterKey: false };
}

function isBuiltInWebhook(handler: CloudHandler | undefined): boolean {
  // Own property, whatever its value: a row without a url makes one too.
  return handler !== undefined && Object.hasOwn(handler, 'url');
}
