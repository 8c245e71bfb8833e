// One seat per function or (class, trigger): the cloud code that stands there, and whether a hook does too.
// Parse Server sees one stable dispatcher per seat, so hooks come and go without touching cloud code or validators.
import type { CloudHandler, ParseRequest, TriggersModule } from './internals';
import { hookKey, type RowName } from '../hooks/hook';

/** Runs what stands on a seat. `cloud` is the application's own handler, if it has one. */
export type Dispatch = (
  key: string,
  request: ParseRequest,
  cloud: CloudHandler | undefined,
) => Promise<unknown>;

interface Seat {
  readonly target: RowName;
  cloud: CloudHandler | undefined;
  /** The application's validator says `skipWithMasterKey`. */
  masterSkipsCloud: boolean;
  hooked: boolean;
}

/** The answer object of cloud functions with two parameters (parse-server lib/Routers/FunctionsRouter.js). */
interface ExpressStyleResponse {
  success(result: unknown): void;
}

export class TriggerSeats {
  readonly #applicationId: string;
  readonly #triggers: TriggersModule;
  readonly #original: TriggersModule;
  readonly #dispatch: Dispatch;
  readonly #seats = new Map<string, Seat>();
  #cloudPhase = false;

  constructor(applicationId: string, triggers: TriggersModule, dispatch: Dispatch) {
    this.#applicationId = applicationId;
    this.#triggers = triggers;
    this.#original = { ...triggers };
    this.#dispatch = dispatch;
  }

  /**
   * Replaces the registration functions of lib/triggers.js in place. Parse.Cloud.* and the built-in hooks controller
   * call them through the module, so every registration of this application passes here; others pass through.
   */
  intercept(): void {
    const original = this.#original;
    const mine = (applicationId: string | undefined): boolean => applicationId === this.#applicationId;
    this.#triggers.addFunction = (name, handler, validator, applicationId) => {
      if (mine(applicationId)) this.#register({ kind: 'function', functionName: name }, handler, validator);
      else original.addFunction(name, handler, validator, applicationId);
    };
    this.#triggers.addTrigger = (type, className, handler, applicationId, validator) => {
      const target = { kind: 'trigger', className, triggerName: type } as const;
      if (mine(applicationId)) this.#register(target, handler, validator);
      else original.addTrigger(type, className, handler, applicationId, validator);
    };
    this.#triggers.addConnectTrigger = (type, handler, applicationId, validator) => {
      const target = { kind: 'trigger', className: '@Connect', triggerName: type } as const;
      if (mine(applicationId)) this.#register(target, handler, validator);
      else original.addConnectTrigger(type, handler, applicationId, validator);
    };
    this.#triggers._unregisterAll = () => {
      original._unregisterAll();
      for (const seat of this.#seats.values()) {
        seat.cloud = undefined;
        seat.masterSkipsCloud = false;
        if (seat.hooked) this.#sit(seat, undefined);
      }
    };
  }

  /** From now on every registration is the application's; before, the built-in loads its own webhooks (ParseServer.start). */
  beginCloudCode(): void {
    this.#cloudPhase = true;
  }

  /** Puts the functions of lib/triggers.js back and takes this application's hooks away; its cloud code stays. */
  restore(): void {
    this.setHooked(new Map());
    const { addFunction, addTrigger, addConnectTrigger, _unregisterAll } = this.#original;
    Object.assign(this.#triggers, { addFunction, addTrigger, addConnectTrigger, _unregisterAll });
  }

  /** True when the application's own code stands on a target. */
  hasCloudCode(target: RowName): boolean {
    return this.#seats.get(hookKey(target))?.cloud !== undefined;
  }

  /** Makes exactly these targets hooked. Having a trigger registered costs Parse a read of the original: none is left unused. */
  setHooked(targets: ReadonlyMap<string, RowName>): void {
    for (const [key, seat] of this.#seats) {
      if (!seat.hooked || targets.has(key)) continue;
      seat.hooked = false;
      if (!seat.cloud) this.#stand(seat);
    }
    for (const [key, target] of targets) {
      const seat = this.#seatOf(key, target);
      if (seat.hooked) continue;
      seat.hooked = true;
      if (!seat.cloud) this.#sit(seat, undefined);
    }
  }

  #register(target: RowName, handler: CloudHandler | undefined, validator: unknown): void {
    if (!this.#cloudPhase && isBuiltInWebhook(handler)) return;
    const seat = this.#seatOf(hookKey(target), target);
    // A seat that only a hook took is taken over without Parse Server's warning about duplicates.
    if (seat.hooked && !seat.cloud) this.#stand(seat);
    seat.cloud = handler;
    seat.masterSkipsCloud = target.kind === 'trigger' && skipsWithMasterKey(validator);
    if (handler || seat.hooked) {
      this.#sit(seat, seat.masterSkipsCloud ? withoutSkip(validator) : validator);
    } else {
      this.#originalAdd(target, undefined, undefined);
      // Parse Server would keep the name with nothing behind it, which breaks the schema of its GraphQL API.
      this.#stand(seat);
    }
  }

  #seatOf(key: string, target: RowName): Seat {
    let seat = this.#seats.get(key);
    if (!seat)
      this.#seats.set(key, (seat = { target, cloud: undefined, masterSkipsCloud: false, hooked: false }));
    return seat;
  }

  #sit(seat: Seat, validator: unknown): void {
    this.#originalAdd(seat.target, this.#handlerOf(seat), validator);
  }

  #stand({ target }: Seat): void {
    if (target.kind === 'function') this.#original.removeFunction(target.functionName, this.#applicationId);
    else this.#original.removeTrigger(target.triggerName, target.className, this.#applicationId);
  }

  #originalAdd(target: RowName, handler: CloudHandler | undefined, validator: unknown): void {
    if (target.kind === 'function') {
      this.#original.addFunction(target.functionName, handler, validator, this.#applicationId);
    } else {
      this.#original.addTrigger(
        target.triggerName,
        target.className,
        handler,
        this.#applicationId,
        validator,
      );
    }
  }

  #handlerOf(seat: Seat): CloudHandler {
    const key = hookKey(seat.target);
    // Parse Server gives functions with two parameters a response object and waits for it.
    if (seat.target.kind === 'function' && (seat.cloud?.length ?? 0) >= 2) {
      return (request, response) => this.#runExpressStyle(seat, request, response as ExpressStyleResponse);
    }
    return request => {
      const cloud = seat.masterSkipsCloud && request.master === true ? undefined : seat.cloud;
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
function skipsWithMasterKey(validator: unknown): boolean {
  return (
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
