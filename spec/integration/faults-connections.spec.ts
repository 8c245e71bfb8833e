// What a client gets when the connection to a receiver or its HTTP goes wrong, on the whole stack.
import { describeOnEachDatabase } from '../support/databases';
import { expectRefusal, failurePolicies, startFaultStack, type FaultStack } from '../support/fault-stack';
import type { Behaviour, ConnectionBehaviour } from '../support/misbehaving-receiver';

interface Fault {
  readonly behaviour: Behaviour | ConnectionBehaviour;
  /** What follows `webhook beforeSave Fault failed: `. */
  readonly told: string;
  /** For receivers that never end. */
  readonly timeoutMs?: number;
}

const hastyMs = 250;
const timedOut = `timed out after ${hastyMs} ms`;

const faults: readonly Fault[] = [
  { behaviour: 'refuses', told: 'connection failed' },
  { behaviour: 'unresolvable', told: 'name does not resolve' },
  { behaviour: 'resets-before-headers', told: 'connection was cut' },
  { behaviour: 'closes-before-headers', told: 'connection was cut' },
  { behaviour: 'resets-mid-body', told: 'connection was cut' },
  { behaviour: 'truncates-chunks', told: 'connection was cut' },
  { behaviour: 'length-too-great', told: 'connection was cut' },
  { behaviour: 'hangs-before-headers', told: timedOut, timeoutMs: hastyMs },
  { behaviour: 'hangs-after-headers', told: timedOut, timeoutMs: hastyMs },
  { behaviour: 'never-answers', told: timedOut, timeoutMs: hastyMs },
  { behaviour: 'drips', told: timedOut, timeoutMs: hastyMs },
  { behaviour: 'sends-100-mb', told: 'answer is too large' },
  { behaviour: 'announces-100-mb', told: 'answer is too large' },
  { behaviour: 'gzip-bomb', told: 'answer is too large' },
  { behaviour: 'brotli-bomb', told: 'answer is too large' },
  { behaviour: 'gzip-of-nothing', told: 'answer is too large' },
  { behaviour: 'truncated-gzip', told: 'answer is not valid HTTP' },
  { behaviour: 'broken-gzip', told: 'answer is not valid HTTP' },
  { behaviour: 'unknown-encoding', told: 'answer is not valid HTTP' },
  { behaviour: 'not-http', told: 'answer is not valid HTTP' },
  { behaviour: 'oversized-headers', told: 'answer is not valid HTTP' },
  { behaviour: 'length-and-chunks', told: 'answer is not valid HTTP' },
  { behaviour: 'unasked-upgrade', told: 'answer is not valid HTTP' },
  { behaviour: 'tls-self-signed', told: 'TLS failed' },
  { behaviour: 'tls-wrong-host', told: 'TLS failed' },
  { behaviour: 'tls-expired', told: 'TLS failed' },
  { behaviour: 'redirect-301', told: 'answer is a redirect' },
  { behaviour: 'redirect-302', told: 'answer is a redirect' },
  { behaviour: 'redirect-307', told: 'answer is a redirect' },
  { behaviour: 'redirect-308', told: 'answer is a redirect' },
  { behaviour: 'status-304', told: 'answer is a redirect' },
  { behaviour: 'error-500-html', told: 'answer has an error status' },
  { behaviour: 'html-200', told: 'answer is not JSON' },
  { behaviour: 'invalid-json', told: 'answer is not JSON' },
  { behaviour: 'latin1', told: 'answer is not JSON' },
  { behaviour: 'utf16', told: 'answer is not JSON' },
  { behaviour: 'deep-arrays', told: 'answer is nested too deeply' },
  { behaviour: 'deep-objects', told: 'answer is nested too deeply' },
];

describeOnEachDatabase('a save whose receiver', database => {
  let stack: FaultStack;

  beforeAll(async () => {
    stack = await startFaultStack(database);
    await stack.parse.master('POST', '/classes/Fault', { body: { made: true } });
  });
  afterAll(async () => stack.stop());
  afterEach(async () => stack.expectAlive());

  const hookOf = ({ behaviour, timeoutMs }: Omit<Fault, 'told'>, failurePolicy: string) => ({
    className: 'Fault',
    triggerName: 'beforeSave',
    url: stack.misbehaving.url(behaviour),
    failurePolicy,
    ...(timeoutMs !== undefined && { timeoutMs }),
  });
  const save = () => stack.parse.client('POST', '/classes/Fault', { body: { name: 'Spot' } });

  describe.each(faults)('is of the kind "$behaviour"', fault => {
    it('is refused with that kind of failure and nothing else by failurePolicy reject', async () => {
      const before = await stack.parse.master('GET', '/classes/Fault?count=1&limit=0');
      const answer = await stack.withHook(hookOf(fault, 'reject'), save);
      expectRefusal(answer, {
        code: fault.told === timedOut ? 124 : 141,
        error: `webhook beforeSave Fault failed: ${fault.told}`,
      });
      expect((await stack.parse.master('GET', '/classes/Fault?count=1&limit=0')).body).toEqual(before.body);
    });

    it('is saved as the client sent it by failurePolicy allow, with a line in the log', async () => {
      const lines = stack.parse.logs.length;
      const answer = await stack.withHook(hookOf(fault, 'allow'), save);
      expect(answer).toMatchObject({
        status: 201,
        body: { objectId: expect.any(String), createdAt: expect.any(String) },
      });
      expect(Object.keys(answer.body)).toHaveLength(2);
      const stored = await stack.parse.master('GET', `/classes/Fault/${answer.body.objectId}`);
      expect(stored.body).toMatchObject({ name: 'Spot' });
      const warned = stack.parse.logs
        .slice(lines)
        .filter(line => line.startsWith(`warn webhook beforeSave Fault failed: ${fault.told}`));
      expect(warned).toHaveLength(1);
      expect(warned[0]).toMatch(/; allowed by its failurePolicy$/);
    });
  });

  it('resets each connection as soon as it is made is refused, whether the reset or the request was faster', async () => {
    const answer = await stack.withHook(hookOf({ behaviour: 'resets-at-once' }, 'reject'), save);
    expectRefusal(answer, {
      code: 141,
      error: expect.stringMatching(/ failed: connection (failed|was cut)$/),
    });
    expect((await stack.withHook(hookOf({ behaviour: 'resets-at-once' }, 'allow'), save)).status).toBe(201);
  });

  it.each(['redirect-301', 'redirect-302', 'redirect-307', 'redirect-308'] as const)(
    'answers %s to itself is asked once, whatever the policy',
    async behaviour => {
      for (const policy of failurePolicies) {
        const before = stack.misbehaving.requests.length;
        await stack.withHook(hookOf({ behaviour }, policy), save);
        expect(stack.misbehaving.requests).toHaveLength(before + 1);
      }
    },
  );

  it('says no with status 500 is refused with its words, whatever the policy', async () => {
    for (const policy of failurePolicies) {
      const answer = await stack.withHook(hookOf({ behaviour: 'error-500-json' }, policy), save);
      expectRefusal(answer, { code: 141, error: 'the receiver is unwell' });
    }
  });

  it.each(['status-204', 'empty-200', 'encoded-nothing'] as const)(
    'answers nothing (%s) is saved as the client sent it, whatever the policy',
    async behaviour => {
      for (const policy of failurePolicies) {
        const answer = await stack.withHook(hookOf({ behaviour }, policy), save);
        expect(answer.status).toBe(201);
        const stored = await stack.parse.master('GET', `/classes/Fault/${answer.body.objectId}`);
        expect(stored.body).toMatchObject({ name: 'Spot' });
      }
    },
  );

  it.each(['ok', 'utf8-bom', 'gzip', 'deflate', 'raw-deflate', 'br', 'closes-after-reply'] as const)(
    'answers well, if oddly (%s), is saved as the receiver wants it',
    async behaviour => {
      const answer = await stack.withHook(hookOf({ behaviour }, 'reject'), save);
      expect(answer).toMatchObject({ status: 201, body: { ok: true } });
    },
  );

  it.each([
    ['a function', { functionName: 'fault' }, 'POST', '/functions/fault', 'function fault'],
    ['beforeDelete', { className: 'Fault', triggerName: 'beforeDelete' }, 'DELETE', '', 'beforeDelete Fault'],
    ['beforeFind', { className: 'Fault', triggerName: 'beforeFind' }, 'GET', '', 'beforeFind Fault'],
    ['afterFind', { className: 'Fault', triggerName: 'afterFind' }, 'GET', '', 'afterFind Fault'],
  ] as const)('refuses fails %s by its failurePolicy too', async (_name, target, method, path, label) => {
    const { body: made } = await stack.parse.master('POST', '/classes/Fault', { body: { a: 1 } });
    const call = () =>
      stack.parse.client(method, path === '' ? `/classes/Fault/${made.objectId}` : path, {
        ...(method === 'POST' && { body: {} }),
      });
    const url = stack.misbehaving.url('refuses');
    const refused = await stack.withHook({ ...target, url, failurePolicy: 'reject' }, call);
    expectRefusal(refused, { code: 141, error: `webhook ${label} failed: connection failed` });
    expect((await stack.withHook({ ...target, url, failurePolicy: 'allow' }, call)).status).toBe(200);
  });
});
