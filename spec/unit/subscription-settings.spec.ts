// What a subscription may be, and how each refusal names field and value.
import { selectsEvent } from '../../src/events/event-types';
import {
  changeSubscription,
  parseSubscriptionName,
  resolveSubscription,
} from '../../src/events/subscription-settings';
import { readCertificate } from '../support/misbehaving-receiver';

const base = { url: 'https://example.com/events', events: ['object.*'] };

describe('the fields of a subscription', () => {
  it('have defaults', () => {
    expect(resolveSubscription(changeSubscription({}, base))).toEqual({
      ...base,
      classes: ['*'],
      active: true,
      headers: {},
      signatures: ['v1'],
      sendWebhookKey: false,
      timeoutMs: 15_000,
      concurrency: 16,
      maxBodyBytes: 1_048_576,
      metadata: {},
    });
  });

  it('may all be given', () => {
    const all = {
      ...base,
      events: ['object.create', 'custom.order.paid', 'delivery.*'],
      classes: ['Order', '_Role', '*'],
      active: false,
      where: { status: 'paid', 'original.status': { $ne: 'paid' } },
      changed: ['status'],
      keys: ['status', 'total'],
      headers: { 'X-Api-Key': 'k' },
      signatures: ['v1', 'v1a'],
      bearer: { algorithm: 'ES256' },
      network: { allowPrivate: false },
      timeoutMs: 60_000,
      firstByteTimeoutMs: 60_000,
      retry: { maxAttempts: 3 },
      concurrency: 1000,
      maxBodyBytes: 1024,
      description: 'for people',
      metadata: { team: 'sales' },
    };
    const settings = changeSubscription({}, all);
    expect(Object.keys(settings).sort()).toEqual(Object.keys(all).sort());
    expect(settings.headers).toEqual({ 'x-api-key': 'k' });
    expect(settings.retry).toMatchObject({ maxAttempts: 3, minDelayMs: 5000, jitter: 0.2 });
  });

  it('keep what a change does not name, and null takes one back to its default', () => {
    const first = changeSubscription({}, { ...base, timeoutMs: 5, headers: { a: '1', b: '2' } });
    const next = changeSubscription(first, { timeoutMs: null, headers: { A: null, b: '********', c: '3' } });
    expect(next).toEqual({ ...base, headers: { b: '2', c: '3' } });
  });

  it.each([
    [{ url: undefined }, 'url must be given'],
    [{ events: null }, 'events must be given'],
    [{ url: 'ftp://example.com' }, 'url must be http or https, got "ftp:"'],
    [{ url: 'https://user:word@example.com' }, 'url must not carry credentials'],
    [{ url: 7 }, 'url is invalid'],
    [{ events: [] }, 'events is invalid'],
    [{ events: ['object.move'] }, 'events.0 is invalid: must be the name of an event'],
    [{ events: ['custom'] }, 'got "custom"'],
    [{ events: ['custom.'] }, 'got "custom."'],
    [{ events: ['custom.a.*'] }, 'got "custom.a.*"'],
    [{ events: ['*', '*'] }, 'events is invalid: must name each once'],
    [{ classes: [] }, 'classes is invalid'],
    [{ classes: ['no class'] }, 'classes must be names of classes or "*", got "no class"'],
    [{ classes: ['@File'] }, 'got "@File"'],
    [{ where: { $where: 'x' } }, 'where is invalid'],
    [{ changed: ['$a'] }, 'changed.0 is invalid'],
    [{ keys: ['a'], excludeKeys: ['b'] }, 'keys and excludeKeys cannot both be given'],
    [{ headers: { Host: 'x' } }, 'headers.host is set by'],
    [{ bearer: { algorithm: 'HS256' }, headers: { authorization: 'x' } }, 'only one can be given'],
    [{ basicAuth: { username: 'a', password: '********' } }, 'password has no value'],
    [{ basicAuth: { username: 7, password: 'p' } }, 'basicAuth.username is invalid'],
    [{ basicAuth: { password: 'p' } }, 'basicAuth.username is invalid'],
    [{ basicAuth: { username: '', password: 'p' } }, 'basicAuth.username is invalid: must be printable'],
    [{ basicAuth: { username: 'a:b', password: 'p' } }, 'basicAuth.username is invalid: must be printable'],
    [{ basicAuth: { username: 'a\nb', password: 'p' } }, 'basicAuth.username is invalid: must be printable'],
    [
      { basicAuth: { username: 'x'.repeat(257), password: 'p' } },
      'basicAuth.username is invalid: must be printable',
    ],
    [{ active: 'yes' }, 'active is invalid'],
    [{ active: 0 }, 'got 0'],
    [{ sendWebhookKey: 'true' }, 'sendWebhookKey is invalid'],
    [{ sendWebhookKey: 1 }, 'got 1'],
    [{ signatures: [] }, 'signatures is invalid'],
    [{ signatures: 'v1' }, 'signatures is invalid'],
    [{ signatures: ['v2'] }, 'signatures.0 is invalid'],
    [{ signatures: ['v1', 'v1'] }, 'signatures is invalid: must name each kind once'],
    [{ tls: 'x' }, 'tls is invalid'],
    [{ tls: { rejectUnauthorized: false } }, 'tls is invalid: Unrecognized key: "rejectUnauthorized"'],
    [{ tls: { ca: 'x' } }, 'tls.ca is invalid: must be PEM'],
    [{ tls: { cert: readCertificate('trusted') } }, 'tls.cert and tls.key belong together'],
    [{ tls: { ca: readCertificate('receiver.key') } }, 'tls.ca is invalid: it holds something else'],
    [{ network: true }, 'network is invalid: must be an object, got true'],
    [{ network: { proxy: 'x' } }, 'network is invalid: must have no field "proxy"'],
    [{ network: { allowPrivate: 'no' } }, 'network.allowPrivate is invalid: must be true or false, got "no"'],
    [{ timeoutMs: 0 }, 'timeoutMs is invalid'],
    [{ timeoutMs: 60_001 }, 'got 60001'],
    [{ firstByteTimeoutMs: 0 }, 'firstByteTimeoutMs is invalid'],
    [{ timeoutMs: '5s' }, 'got "5s"'],
    [{ concurrency: 1001 }, 'concurrency is invalid'],
    [{ maxBodyBytes: 1023 }, 'maxBodyBytes is invalid'],
    [{ retry: { scheduleMs: [-1] } }, 'retry'],
    [{ retry: { times: 3 } }, 'retry'],
    [{ metadata: { a: 1 } }, 'metadata.a is invalid'],
    [{ metadata: { 'a b': 'x' } }, 'metadata'],
    [{ metadata: Object.fromEntries(Array.from({ length: 51 }, (_, at) => [`k${at}`, ''])) }, '50 entries'],
    [{ description: 'x'.repeat(1001) }, 'description is invalid'],
    [{ colour: 'red' }, 'unknown field "colour"'],
    [{ objectId: 'x' }, 'unknown field "objectId"'],
  ])('refuse %j', (change, message) => {
    expect(() => changeSubscription({}, { ...base, ...change })).toThrow(
      expect.objectContaining({
        code: 'INVALID_SUBSCRIPTION',
        parseCode: 143,
        message: expect.stringContaining(message),
      }),
    );
  });

  it.each(['_User', '_Session', '_Installation', 'WebhookSubscription', 'WebhookState', 'WebhookEventKey'])(
    'refuse the class %s',
    className => {
      expect(() => changeSubscription({}, { ...base, classes: ['Order', className] })).toThrow(
        expect.objectContaining({ code: 'REFUSED_CLASS', message: expect.stringContaining(className) }),
      );
    },
  );

  it('never quote a secret', () => {
    for (const change of [
      { headers: { 'x-key': 'secret\nvalue' } },
      { basicAuth: { username: 'a', password: 'secret\nvalue' } },
    ]) {
      expect(() => changeSubscription({}, { ...base, ...change })).toThrow(/^(?!.*secret)/);
    }
  });

  it.each(['', ' a', '-a', 'ä', 'a b', 'x'.repeat(129), 7, null])('refuse the name %j', name => {
    expect(() => parseSubscriptionName(name)).toThrow('name must be');
  });
});

describe('the events of a subscription', () => {
  it.each([
    [['*'], ['object.create', 'object.delete', 'custom.a.b']],
    [['object.*'], ['object.create', 'object.update', 'object.delete']],
    [['object.update'], ['object.update']],
    [['custom.*'], ['custom.a', 'custom.a.b']],
    [['custom.a'], ['custom.a']],
    [['subscription.*'], ['subscription.failing', 'subscription.paused']],
    [
      ['*', 'delivery.*'],
      ['object.create', 'custom.a', 'delivery.exhausted'],
    ],
  ])('%j are among others %j', (selectors, types) => {
    for (const type of types) expect([type, selectsEvent(selectors, type)]).toEqual([type, true]);
  });

  it.each([
    [['*'], ['subscription.failing', 'subscription.paused', 'delivery.exhausted']],
    [['object.update'], ['object.create', 'custom.a']],
    [['custom.a'], ['custom.a.b', 'custom.b']],
    [['delivery.exhausted'], ['subscription.failing', 'object.create']],
  ])('%j are not %j', (selectors, types) => {
    for (const type of types) expect([type, selectsEvent(selectors, type)]).toEqual([type, false]);
  });
});
