import { errors } from 'undici';
import { classifyFailure } from '../../src/http/classify-failure';
import { classifyConnectError, ConnectFailure } from '../../src/http/connect-failure';
import { describeError } from '../../src/http/describe-error';

const coded = (code: string, message = code): Error => Object.assign(new Error(message), { code });

describe('classifyFailure', () => {
  it.each([
    { error: new errors.SocketError('other side closed'), phase: 'first-byte', kind: 'reset' },
    { error: new errors.SocketError('bad response'), phase: 'first-byte', kind: 'protocol' },
    { error: new errors.SocketError('bad upgrade'), phase: 'first-byte', kind: 'protocol' },
    { error: new errors.ResponseContentLengthMismatchError(), phase: 'body', kind: 'reset' },
    { error: new errors.ResponseContentLengthMismatchError(), phase: 'first-byte', kind: 'protocol' },
    { error: new errors.HeadersOverflowError(), phase: 'first-byte', kind: 'protocol' },
    { error: coded('HPE_INVALID_CONSTANT'), phase: 'first-byte', kind: 'protocol' },
    { error: coded('HPE_INVALID_EOF_STATE'), phase: 'body', kind: 'reset' },
    { error: new errors.InvalidArgumentError('invalid x header'), phase: 'connect', kind: 'protocol' },
    { error: new errors.ClientDestroyedError(), phase: 'connect', kind: 'aborted' },
    { error: new errors.ClientClosedError(), phase: 'connect', kind: 'aborted' },
    { error: coded('ECONNRESET'), phase: 'first-byte', kind: 'reset' },
    { error: coded('EPIPE'), phase: 'first-byte', kind: 'reset' },
    { error: coded('EHOSTUNREACH'), phase: 'body', kind: 'reset' },
    { error: coded('EPROTO'), phase: 'first-byte', kind: 'tls' },
    { error: coded('ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED'), phase: 'first-byte', kind: 'tls' },
    { error: new ConnectFailure('dns', 'no such name', { retryable: true }), phase: 'connect', kind: 'dns' },
    { error: 'no error at all', phase: 'body', kind: 'protocol' },
  ] as const)('calls it $kind in phase $phase: $error', ({ error, phase, kind }) => {
    expect(classifyFailure(error, phase)).toBe(kind);
  });
});

describe('classifyConnectError', () => {
  it.each([
    ['ENOTFOUND', 'dns', 'dns', true],
    ['ECONNREFUSED', 'tcp', 'connect', true],
    ['ECONNRESET', 'tls', 'tls', true],
    ['CERT_HAS_EXPIRED', 'tls', 'tls', false],
    ['ERR_TLS_CERT_ALTNAME_INVALID', 'tls', 'tls', false],
    ['ERR_SSL_WRONG_VERSION_NUMBER', 'tls', 'tls', false],
  ] as const)('calls %s in stage %s %s, to be tried again: %s', (code, stage, failure, retryable) => {
    const cause = coded(code);
    const found = classifyConnectError(cause, stage);
    expect(found).toMatchObject({ failure, retryable, timedOut: false });
    expect(found.cause).toBe(cause);
  });

  it('keeps what a lookup says', () => {
    const refused = new ConnectFailure('connect', 'not allowed', { retryable: false });
    expect(classifyConnectError(refused, 'dns')).toBe(refused);
  });
});

describe('describeError', () => {
  it('tells code and message, the code once', () => {
    expect(describeError(coded('ECONNRESET', 'socket hang up'))).toBe('ECONNRESET: socket hang up');
    expect(describeError(coded('ECONNREFUSED', 'connect ECONNREFUSED 127.0.0.1:1'))).toBe(
      'connect ECONNREFUSED 127.0.0.1:1',
    );
  });

  it('tells every failure of an AggregateError', () => {
    const error = Object.assign(new AggregateError([coded('EA', 'one'), coded('EB', 'two')]), { code: 'EA' });
    expect(describeError(error)).toBe('EA: one; two');
  });

  it('tells at most 300 characters and never the bytes of a reply', () => {
    expect(describeError(new Error('x'.repeat(1000)))).toHaveLength(301);
    // undici's HTTPParserError carries the bytes that it could not read.
    const error = Object.assign(coded('HPE_INVALID_CONSTANT'), { data: 'secret reply' });
    expect(describeError(error)).not.toContain('secret');
  });
});
