// Stands in for the registration functions of lib/triggers.js, once for all applications of a process, and hands each
// registration to its application. What an application does with it is up to trigger-seats.ts.
import type { RowName } from '../hooks/hook';
import type { CloudHandler, TriggersModule } from './internals';

/** An application whose registrations are intercepted. */
export interface Registrar {
  register(target: RowName, handler: CloudHandler | undefined, validator: unknown): void;
  /** Parse Server has just forgotten every function and trigger. */
  forgetCloudCode(): void;
}

type RegistrationFunctions = Pick<
  TriggersModule,
  'addFunction' | 'addTrigger' | 'addConnectTrigger' | '_unregisterAll'
>;

const installed = new WeakMap<TriggersModule, TriggerInterceptor>();

export class TriggerInterceptor {
  /** What was there before: for registrations that are not to be intercepted. */
  readonly native: Readonly<RegistrationFunctions>;
  readonly #triggers: TriggersModule;
  readonly #ours: RegistrationFunctions;
  readonly #registrars = new Map<string, Registrar>();

  /** The interceptor of this module. There is one as long as an application is in it, as two could not be undone in any order. */
  static of(triggers: TriggersModule): TriggerInterceptor {
    return installed.get(triggers) ?? new TriggerInterceptor(triggers);
  }

  private constructor(triggers: TriggersModule) {
    const { addFunction, addTrigger, addConnectTrigger, _unregisterAll } = triggers;
    this.#triggers = triggers;
    this.native = { addFunction, addTrigger, addConnectTrigger, _unregisterAll };
    this.#ours = this.#replacements();
    // Parse.Cloud.* and the built-in hooks controller call these through the module: all registrations pass here.
    Object.assign(triggers, this.#ours);
    installed.set(triggers, this);
  }

  /** Intercepts an application's registrations from now on, in the place of whom it had before. */
  join(applicationId: string, registrar: Registrar): void {
    this.#registrars.set(applicationId, registrar);
  }

  /** Who has the registrations of an application. */
  find(applicationId: string): Registrar | undefined {
    return this.#registrars.get(applicationId);
  }

  /** Ends it, unless another one has taken the place since. The last to leave puts the module's own functions back. */
  leave(applicationId: string, registrar: Registrar): void {
    if (this.find(applicationId) === registrar) this.#registrars.delete(applicationId);
    if (this.#registrars.size > 0 || installed.get(this.#triggers) !== this) return;
    installed.delete(this.#triggers);
    for (const name of Object.keys(this.#ours) as (keyof RegistrationFunctions)[]) {
      // Who has wrapped ours since keeps the wrapper; below it ours passes everything through.
      if (this.#triggers[name] === this.#ours[name])
        Object.assign(this.#triggers, { [name]: this.native[name] });
    }
  }

  #replacements(): RegistrationFunctions {
    const { native } = this;
    const find = (applicationId: string | undefined): Registrar | undefined =>
      applicationId === undefined ? undefined : this.find(applicationId);
    return {
      addFunction: (functionName, handler, validator, applicationId) => {
        const registrar = find(applicationId);
        if (registrar) registrar.register({ kind: 'function', functionName }, handler, validator);
        else native.addFunction(functionName, handler, validator, applicationId);
      },
      addTrigger: (triggerName, className, handler, applicationId, validator) => {
        const registrar = find(applicationId);
        if (registrar) registrar.register({ kind: 'trigger', className, triggerName }, handler, validator);
        else native.addTrigger(triggerName, className, handler, applicationId, validator);
      },
      addConnectTrigger: (triggerName, handler, applicationId, validator) => {
        const registrar = find(applicationId);
        if (registrar)
          registrar.register({ kind: 'trigger', className: '@Connect', triggerName }, handler, validator);
        else native.addConnectTrigger(triggerName, handler, applicationId, validator);
      },
      _unregisterAll: () => {
        native._unregisterAll();
        for (const registrar of this.#registrars.values()) registrar.forgetCloudCode();
      },
    };
  }
}
