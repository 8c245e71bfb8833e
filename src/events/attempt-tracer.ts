// What an attempt asks of tracing, whatever brings traces out.

export interface AttemptTrace {
  /** Lower-case names; sent unless the endpoint has a traceparent of its own. */
  readonly headers: Readonly<Partial<Record<'traceparent' | 'tracestate', string>>>;
  run<T>(work: () => T): T;
  end(ended: {
    /** `cut-off`: by this node's stop. */
    readonly outcome: 'succeeded' | 'failed' | 'aborted' | 'cut-off';
    /** HTTP status, if a reply came. */
    readonly status: number | undefined;
    /** Kind of the failure. */
    readonly error: string | undefined;
  }): void;
}

/** Undefined when there is nothing to trace. Must not throw. */
export type AttemptTracer = (attempt: {
  readonly label: string;
  readonly url: string;
  readonly deliveryId: string;
  /** 1, 2, … */
  readonly number: number;
  readonly traceparent: string | undefined;
}) => AttemptTrace | undefined;
