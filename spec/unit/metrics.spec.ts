import { maxLabels } from '../../src/api/hook-labels';
import type { LaneReading } from '../../src/api/lane-gauges';
import { createMetrics, type Metrics, type MetricsParts } from '../../src/api/metrics';
import type { EndedCall } from '../../src/blocking/call-observer';
import { failureKinds } from '../../src/blocking/failure-message';
import type { HookTarget } from '../../src/hooks/hook';
import { installHook, type InstalledHook } from '../../src/hooks/installed-hook';
import { attemptOf, failedWith } from '../support/ended-attempts';

function hookOn(target: HookTarget): InstalledHook {
  return installHook({
    hook: { target, url: 'https://secret-host.example.com/path?key=canary' },
    settings: { headers: { 'x-key': 'canary' } },
    secrets: { current: 'whsec_canary', old: [] },
    defaults: {},
  });
}

const ended = { outcome: 'changed', failedOpen: false, overBudget: false, durationMs: 1 } as const;

const puppy = hookOn({ kind: 'trigger', className: 'Puppy', triggerName: 'beforeSave' });
const hello = hookOn({ kind: 'function', functionName: 'hello' });

const events = { spooled: 3, subscriptions: { healthy: 5, failing: 1, paused: 2, broken: 0 } };

function open(
  hooks: InstalledHook[] = [puppy, hello],
  readings: Partial<Record<string, LaneReading>> = {},
  readSubscriptions: MetricsParts['readSubscriptions'] = () => [],
): Metrics {
  return createMetrics({
    listHooks: () => hooks,
    readLane: hook => readings[hook.key] ?? { breaker: 'closed', inFlight: 0 },
    readSubscriptions,
    readEvents: () => events,
  });
}

/** The samples of one name, as lines without the name. */
async function samples(metrics: Metrics, name: string): Promise<readonly string[]> {
  const lines = (await metrics.render()).split('\n');
  return lines.filter(line => line.startsWith(`${name}{`)).map(line => line.slice(name.length));
}

describe('metrics', () => {
  it('count calls and their time by hook, trigger and outcome', async () => {
    const metrics = open();
    for (const outcome of ['changed', 'unchanged', 'rejected', 'changed'] as const) {
      metrics.callEnded({ ...ended, hook: puppy, outcome, durationMs: 20 });
    }
    metrics.callEnded({ ...ended, hook: hello, durationMs: 2000 });
    expect(await samples(metrics, 'parse_webhooks_call_duration_seconds_count')).toEqual([
      '{hook="beforeSave Puppy",trigger="beforeSave",outcome="changed"} 2',
      '{hook="beforeSave Puppy",trigger="beforeSave",outcome="unchanged"} 1',
      '{hook="beforeSave Puppy",trigger="beforeSave",outcome="rejected"} 1',
      '{hook="function hello",trigger="function",outcome="changed"} 1',
    ]);
    expect(await samples(metrics, 'parse_webhooks_call_duration_seconds_sum')).toContain(
      '{hook="function hello",trigger="function",outcome="changed"} 2',
    );
    const within = await samples(metrics, 'parse_webhooks_call_duration_seconds_bucket');
    expect(within).toContain('{le="0.025",hook="beforeSave Puppy",trigger="beforeSave",outcome="changed"} 2');
    expect(within).toContain('{le="0.01",hook="beforeSave Puppy",trigger="beforeSave",outcome="changed"} 0');
    expect(within).toContain('{le="30",hook="function hello",trigger="function",outcome="changed"} 1');
  });

  it('count failures by kind, and those that were let pass', async () => {
    const metrics = open();
    const failed = { ...ended, hook: puppy, outcome: 'failed' } as const;
    metrics.callEnded({ ...failed, failure: 'timeout', failedOpen: true });
    metrics.callEnded({ ...failed, failure: 'timeout', failedOpen: false });
    metrics.callEnded({ ...failed, failure: 'breaker-open', failedOpen: true });
    expect(await samples(metrics, 'parse_webhooks_call_failures_total')).toEqual([
      '{hook="beforeSave Puppy",kind="timeout"} 2',
      '{hook="beforeSave Puppy",kind="breaker-open"} 1',
    ]);
    expect(await samples(metrics, 'parse_webhooks_failed_open_total')).toEqual([
      '{hook="beforeSave Puppy"} 2',
    ]);
  });

  it('count rejections by code, and those outside of a known set together', async () => {
    const metrics = open();
    for (const rejectionCode of [141, 101, 4242, 141, 9_999_999]) {
      metrics.callEnded({ ...ended, hook: puppy, outcome: 'rejected', rejectionCode });
    }
    expect(await samples(metrics, 'parse_webhooks_rejections_total')).toEqual([
      '{hook="beforeSave Puppy",code="141"} 2',
      '{hook="beforeSave Puppy",code="101"} 1',
      '{hook="beforeSave Puppy",code="other"} 2',
    ]);
  });

  it("count calls for which the time of the client's operation was over", async () => {
    const metrics = open();
    const late = { ...ended, hook: hello, outcome: 'failed', failure: 'timeout' } as const;
    metrics.callEnded({ ...late, overBudget: true });
    metrics.callEnded(late);
    expect(await samples(metrics, 'parse_webhooks_budget_exceeded_total')).toEqual([
      '{hook="function hello"} 1',
    ]);
  });

  it('count requests by new and reused connections, from zero', async () => {
    const metrics = open();
    expect(await samples(metrics, 'parse_webhooks_connections_total')).toEqual([
      '{state="new"} 0',
      '{state="reused"} 0',
    ]);
    metrics.connectionUsed('new');
    for (let n = 0; n < 3; n++) metrics.connectionUsed('reused');
    expect(await samples(metrics, 'parse_webhooks_connections_total')).toEqual([
      '{state="new"} 1',
      '{state="reused"} 3',
    ]);
  });

  it('have at most 1,000 names of hooks; the rest are one', async () => {
    const hooks = Array.from({ length: maxLabels + 3 }, (_, n) =>
      hookOn({ kind: 'function', functionName: `f${n}` }),
    );
    const busy = { breaker: 'closed', inFlight: 2 } as const;
    const last = { breaker: 'open', inFlight: 5 } as const;
    const metrics = createMetrics({
      listHooks: () => hooks,
      readLane: ({ key }) => (key === `function/f${maxLabels + 1}` ? last : busy),
      readSubscriptions: () => [],
      readEvents: () => events,
    });
    for (const hook of hooks) metrics.callEnded({ ...ended, hook });
    const counts = await samples(metrics, 'parse_webhooks_call_duration_seconds_count');
    expect(counts).toHaveLength(maxLabels + 1);
    expect(counts.at(-1)).toBe('{hook="other",trigger="function",outcome="changed"} 3');
    // Of those together: the worst breaker, and all calls.
    const breakers = await samples(metrics, 'parse_webhooks_breaker_state');
    expect(breakers).toHaveLength(maxLabels + 1);
    expect(breakers.at(-1)).toBe('{hook="other"} 2');
    const inFlight = await samples(metrics, 'parse_webhooks_calls_in_flight');
    expect(inFlight.at(-1)).toBe('{hook="other"} 9');
  });

  it('forget a hook that is gone, in every metric, and give its place to another', async () => {
    const hooks = [puppy];
    const metrics = open(hooks);
    const outcomes: readonly EndedCall['outcome'][] = ['changed', 'unchanged', 'rejected', 'failed'];
    for (const hook of [puppy, hello]) {
      for (const outcome of outcomes) metrics.callEnded({ ...ended, hook, outcome });
      for (const failure of failureKinds) {
        metrics.callEnded({ ...ended, hook, outcome: 'failed', failure, failedOpen: true, overBudget: true });
      }
      for (const rejectionCode of [101, 141, 142, 1234]) {
        metrics.callEnded({ ...ended, hook, outcome: 'rejected', rejectionCode });
      }
    }
    expect(await metrics.render()).toContain('function hello');
    metrics.keepOnly(new Set([puppy.key]));
    const text = await metrics.render();
    expect(text).not.toContain('function hello');
    expect(text).toContain('parse_webhooks_rejections_total{hook="beforeSave Puppy",code="142"} 1');
    for (let round = 0; round < 3; round++) {
      for (let n = 0; n < maxLabels - 1; n++) {
        metrics.callEnded({
          ...ended,
          hook: hookOn({ kind: 'function', functionName: `f${round}_${n}` }),
        });
      }
      expect(await metrics.render()).not.toContain('hook="other"');
      metrics.keepOnly(new Set([puppy.key]));
    }
  });

  it('show breakers and calls in flight of the hooks that there are at that moment', async () => {
    const hooks = [puppy, hello];
    const readings: Partial<Record<string, LaneReading>> = { [puppy.key]: { breaker: 'open', inFlight: 3 } };
    const metrics = open(hooks, readings);
    expect(await samples(metrics, 'parse_webhooks_breaker_state')).toEqual([
      '{hook="beforeSave Puppy"} 2',
      '{hook="function hello"} 0',
    ]);
    expect(await samples(metrics, 'parse_webhooks_calls_in_flight')).toEqual([
      '{hook="beforeSave Puppy"} 3',
      '{hook="function hello"} 0',
    ]);
    readings[puppy.key] = { breaker: 'half-open', inFlight: 1 };
    hooks.pop();
    expect(await samples(metrics, 'parse_webhooks_breaker_state')).toEqual(['{hook="beforeSave Puppy"} 1']);
    expect(await samples(metrics, 'parse_webhooks_calls_in_flight')).toEqual(['{hook="beforeSave Puppy"} 1']);
  });

  it('show breakers and attempts in flight of subscriptions: of the oldest 1,000, and of the rest as one', async () => {
    const lanes = [{ name: 'orders', breaker: 'half-open', inFlight: 1 } as const];
    const metrics = open([], {}, () => lanes);
    expect(await samples(metrics, 'parse_webhooks_endpoint_breaker_state')).toEqual([
      '{subscription="orders"} 1',
    ]);
    const busy = { breaker: 'open', inFlight: 2 } as const;
    const many = Array.from({ length: maxLabels + 3 }, (_, n) => ({ ...busy, name: `s${n}` }));
    const crowded = open([], {}, () => many);
    const breakers = await samples(crowded, 'parse_webhooks_endpoint_breaker_state');
    expect(breakers).toHaveLength(maxLabels + 1);
    expect(breakers.at(-1)).toBe('{subscription="other"} 2');
    const inFlight = await samples(crowded, 'parse_webhooks_endpoint_attempts_in_flight');
    expect(inFlight.at(-1)).toBe('{subscription="other"} 6');
    many.length = 0;
    expect(await samples(crowded, 'parse_webhooks_endpoint_breaker_state')).toEqual([]);
  });

  it('count attempts of deliveries by kind of endpoint, outcome and error, and how deliveries end', async () => {
    const metrics = open();
    const orders = { key: 'subscription/orders' } as const;
    metrics.attemptEnded(attemptOf({ ...orders, outcome: { kind: 'succeeded' }, state: 'succeeded' }));
    metrics.attemptEnded(attemptOf({ ...orders, outcome: failedWith('timeout'), state: 'pending' }));
    metrics.attemptEnded(attemptOf({ ...orders, outcome: failedWith('timeout'), state: 'exhausted' }));
    metrics.attemptEnded(
      attemptOf({ key: 'hook/trigger/A/afterSave', outcome: failedWith('new'), state: 'pending' }),
    );
    expect(await samples(metrics, 'parse_webhooks_delivery_attempts_total')).toEqual([
      '{kind="subscription",outcome="succeeded",error="none"} 1',
      '{kind="subscription",outcome="failed",error="timeout"} 2',
      '{kind="hook",outcome="failed",error="other"} 1',
    ]);
    expect(await samples(metrics, 'parse_webhooks_deliveries_ended_total')).toEqual([
      '{kind="subscription",state="succeeded"} 1',
      '{kind="subscription",state="exhausted"} 1',
    ]);
    expect(await samples(metrics, 'parse_webhooks_delivery_attempt_duration_seconds_count')).toEqual([
      '{kind="subscription"} 3',
      '{kind="hook"} 1',
    ]);
  });

  it('measure the delay of first attempts alone', async () => {
    const metrics = open();
    const base = { key: 'subscription/orders', outcome: failedWith('dns'), state: 'pending' } as const;
    metrics.attemptEnded(attemptOf({ ...base, delayMs: 400 }));
    metrics.attemptEnded(attemptOf({ ...base, delayMs: 90_000, number: 2 }));
    // A clock that was set back.
    metrics.attemptEnded(attemptOf({ ...base, delayMs: -5 }));
    const text = await metrics.render();
    expect(text).toContain('\nparse_webhooks_delivery_delay_seconds_count 2\n');
    expect(text).toContain('\nparse_webhooks_delivery_delay_seconds_sum 0.4\n');
    expect(await samples(metrics, 'parse_webhooks_delivery_delay_seconds_bucket')).toContain('{le="0.25"} 1');
  });

  it('show what waits in memory, and subscriptions by state', async () => {
    const metrics = open();
    expect(await metrics.render()).toContain('\nparse_webhooks_deliveries_spooled 3\n');
    expect(await samples(metrics, 'parse_webhooks_subscriptions')).toEqual([
      '{state="healthy"} 5',
      '{state="failing"} 1',
      '{state="paused"} 2',
      '{state="broken"} 0',
    ]);
  });

  it('belong to one server: two do not share, and nothing global is touched', async () => {
    const [one, other] = [open(), open()];
    one.callEnded({ ...ended, hook: puppy });
    expect(await samples(one, 'parse_webhooks_call_duration_seconds_count')).toHaveLength(1);
    expect(await samples(other, 'parse_webhooks_call_duration_seconds_count')).toEqual([]);
  });

  it('name no address and no secret', async () => {
    const metrics = open();
    metrics.callEnded({ ...ended, hook: puppy, outcome: 'failed', failure: 'tls' });
    expect(await metrics.render()).not.toMatch(/canary|example\.com/);
    expect(metrics.contentType).toMatch(/^text\/plain; version=0\.0\.4/);
  });
});
