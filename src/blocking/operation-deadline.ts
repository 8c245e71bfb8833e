// One deadline for everything that one operation of a client waits for: its hooks, and the hooks of whatever its
// cloud code saves meanwhile. Kubernetes issue 128162 shows why a bound per hook is not enough.
import { AsyncLocalStorage } from 'node:async_hooks';
import type { Clock } from '../shared/clock';

/** The order in which one find or delete passes its blocking triggers (parse-server lib/rest.js `del`). */
const phases = ['beforeFind', 'afterFind', 'beforeDelete'];

/** What runs now, seen from the work inside it. */
interface Operation {
  readonly deadlineAt: number;
  /** Set at its end: work that it left running in the background is on its own from then on. */
  over: boolean;
}

interface Started {
  readonly phase: number;
  readonly deadlineAt: number;
}

export class OperationDeadline {
  readonly #clock: Clock;
  readonly #totalMs: number;
  readonly #outer = new AsyncLocalStorage<Operation>();
  readonly #started = new WeakMap<object, Map<string, Started>>();

  constructor(clock: Clock, totalMs: number) {
    this.#clock = clock;
    this.#totalMs = totalMs;
  }

  /**
   * Runs `work` under a deadline (monotonic ms) and hands it over. Work inside `work` shares it. A delete passes
   * beforeFind, afterFind and beforeDelete one after the other: they share one deadline when they come with the same
   * `request` object (Parse's per-request Config) and class; a phase that is not later than the last starts anew.
   *
   * `nests` says whether `work` can start operations of its own, which only cloud code does. Without it nothing is
   * carried along: once an AsyncLocalStorage is in use, Node 20 runs a hook for every promise of the process, which
   * measured 40 µs of some 790 for a save with one hook.
   */
  async run<T>(
    operation: { request: object | undefined; className: string; triggerName: string; nests: boolean },
    work: (deadlineAt: number) => Promise<T>,
  ): Promise<T> {
    const outer = this.#outer.getStore();
    if (outer && !outer.over) return work(outer.deadlineAt);
    const deadlineAt = this.#continued(operation) ?? this.#clock.monotonicMs() + this.#totalMs;
    if (!operation.nests) return work(deadlineAt);
    const running: Operation = { deadlineAt, over: false };
    try {
      return await this.#outer.run(running, () => work(deadlineAt));
    } finally {
      running.over = true;
    }
  }

  #continued(operation: {
    request: object | undefined;
    className: string;
    triggerName: string;
  }): number | undefined {
    const { request, className, triggerName } = operation;
    const phase = phases.indexOf(triggerName);
    if (!request || phase < 0) return undefined;
    let byClass = this.#started.get(request);
    if (!byClass) this.#started.set(request, (byClass = new Map<string, Started>()));
    const last = byClass.get(className);
    const deadlineAt =
      last && last.phase < phase ? last.deadlineAt : this.#clock.monotonicMs() + this.#totalMs;
    byClass.set(className, { phase, deadlineAt });
    return deadlineAt;
  }
}
