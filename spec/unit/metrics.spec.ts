import { createMetrics, type LaneReading, type Metrics } from '../../src/api/metrics';
import type { HookTarget } from '../../src/hooks/hook';
import { installHook, type InstalledHook } from '../../src/hooks/installed-hook';

function hookOn(target: HookTarget): InstalledHook {
  return installHook({
    hook: { target, url: 'https://secret-host.example.com/path?key=canary' },
    settings: { headers: { 'x-key': 'canary' } },
    secrets: { current: 'whsec_canary', old: [] },
    defaults: {},
  });
}

const puppy = hookOn({ kind: 'trigger', className: 'Puppy', triggerName: 'beforeSave' });
const hello = hookOn({ kind: 'function', functionName: 'hello' });

function open(
  hooks: InstalledHook[] = [puppy, hello],
  readings: Partial<Record<string, LaneReading>> = {},
): Metrics {
  return createMetrics({
    listHooks: () => hooks,
    readLane: hook => readings[hook.key] ?? { breaker: 'closed', inFlight: 0 },
  });
}

/** The samples of one name, as lines without the name. */
async function samples(metrics: Metrics, name: string): Promise<readonly string[]> {
  const lines = (await metrics.render()).split('\n');
  return lines.filter(line => line.startsWith(`${name}{`)).map(line => line.slice(name.length));
}

describe('metrics', () => {
  it('count calls and their time by hook and outcome', async () => {
    const metrics = open();
    for (const outcome of ['changed', 'unchanged', 'rejected', 'changed'] as const) {
      metrics.callEnded({ hook: puppy, outcome, failedOpen: false, durationMs: 20 });
    }
    metrics.callEnded({ hook: hello, outcome: 'changed', failedOpen: false, durationMs: 2000 });
    expect(await samples(metrics, 'parse_webhooks_call_duration_seconds_count')).toEqual([
      '{hook="beforeSave Puppy",outcome="changed"} 2',
      '{hook="beforeSave Puppy",outcome="unchanged"} 1',
      '{hook="beforeSave Puppy",outcome="rejected"} 1',
      '{hook="function hello",outcome="changed"} 1',
    ]);
    expect(await samples(metrics, 'parse_webhooks_call_duration_seconds_sum')).toContain(
      '{hook="function hello",outcome="changed"} 2',
    );
    const within = await samples(metrics, 'parse_webhooks_call_duration_seconds_bucket');
    expect(within).toContain('{le="0.025",hook="beforeSave Puppy",outcome="changed"} 2');
    expect(within).toContain('{le="0.01",hook="beforeSave Puppy",outcome="changed"} 0');
    expect(within).toContain('{le="30",hook="function hello",outcome="changed"} 1');
  });

  it('count failures by kind, and those that were let pass', async () => {
    const metrics = open();
    const failed = { hook: puppy, outcome: 'failed', durationMs: 1 } as const;
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

  it('belong to one server: two do not share, and nothing global is touched', async () => {
    const [one, other] = [open(), open()];
    one.callEnded({ hook: puppy, outcome: 'changed', failedOpen: false, durationMs: 1 });
    expect(await samples(one, 'parse_webhooks_call_duration_seconds_count')).toHaveLength(1);
    expect(await samples(other, 'parse_webhooks_call_duration_seconds_count')).toEqual([]);
  });

  it('name no address and no secret', async () => {
    const metrics = open();
    metrics.callEnded({ hook: puppy, outcome: 'failed', failure: 'tls', failedOpen: false, durationMs: 1 });
    expect(await metrics.render()).not.toMatch(/canary|example\.com/);
    expect(metrics.contentType).toMatch(/^text\/plain; version=0\.0\.4/);
  });
});
