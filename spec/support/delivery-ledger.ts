// The account of one run: what clients were told had happened, against what receivers took.
export const objectEvents = ['object.create', 'object.update', 'object.delete'] as const;
export type ObjectEvent = (typeof objectEvents)[number];

/** A change that a server answered with success. `n` tells the saves of one object apart. */
export interface AcknowledgedChange {
  readonly event: ObjectEvent;
  readonly objectId: string;
  readonly n: number;
}

export interface LedgerBalance {
  readonly acknowledged: number;
  /** Different deliveries that a receiver took, those of changes without an answer included. */
  readonly delivered: number;
  /** Times that a receiver took a delivery again. */
  readonly repeated: number;
  /** Acknowledged, and never taken: `/first object.update Ed1nuqPvcm 3`. */
  readonly lost: readonly string[];
  /** Taken under more than one webhook-id: a receiver cannot know them for the same. */
  readonly renamed: readonly string[];
}

export class DeliveryLedger {
  /** What each endpoint is to be told of a change; undefined: nothing. */
  readonly #endpoints: Readonly<Record<string, (change: AcknowledgedChange) => string | undefined>>;
  readonly #expected = new Set<string>();
  readonly #taken = new Map<string, { readonly ids: Set<string>; times: number }>();
  readonly #waiting = new Set<() => void>();
  #acknowledged = 0;

  constructor(endpoints: Readonly<Record<string, (change: AcknowledgedChange) => string | undefined>>) {
    this.#endpoints = endpoints;
  }

  acknowledge(change: AcknowledgedChange): void {
    this.#acknowledged += 1;
    for (const [endpoint, describe] of Object.entries(this.#endpoints)) {
      const what = describe(change);
      if (what !== undefined) this.#expected.add(`${endpoint} ${what}`);
    }
    for (const wake of [...this.#waiting]) wake();
  }

  /** Call it when the receiver answers with success, and not before. */
  take(endpoint: string, what: string, webhookId: string): void {
    const key = `${endpoint} ${what}`;
    const entry = this.#taken.get(key) ?? { ids: new Set(), times: 0 };
    entry.ids.add(webhookId);
    entry.times += 1;
    this.#taken.set(key, entry);
  }

  /** Resolves once so many changes are acknowledged. */
  async acknowledgedCount(count: number): Promise<void> {
    while (this.#acknowledged < count) {
      await new Promise<void>(resolve => {
        const wake = (): void => {
          this.#waiting.delete(wake);
          resolve();
        };
        this.#waiting.add(wake);
      });
    }
  }

  balance(): LedgerBalance {
    const taken = [...this.#taken];
    return {
      acknowledged: this.#acknowledged,
      delivered: taken.length,
      repeated: taken.reduce((sum, [, { times }]) => sum + times - 1, 0),
      lost: [...this.#expected].filter(key => !this.#taken.has(key)),
      renamed: taken.filter(([, { ids }]) => ids.size > 1).map(([key]) => key),
    };
  }
}

/** What a subscription is told of a change. */
export function eventOf({ event, objectId, n }: AcknowledgedChange): string {
  return `${event} ${objectId} ${n}`;
}

/** What an `afterSave` hook is told of it. */
export function afterSaveOf({ event, objectId, n }: AcknowledgedChange): string | undefined {
  return event === 'object.delete' ? undefined : `afterSave ${objectId} ${n}`;
}
