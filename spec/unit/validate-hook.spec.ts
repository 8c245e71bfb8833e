// Names and URLs of hooks: what is taken, and what each refusal says. The full list runs against the real server too.
import fc from 'fast-check';
import { WebhookError } from '../../src/errors';
import { hookFields, hookKey, isRowOf, parseRowName } from '../../src/hooks/hook';
import { parseHookRow, parseTarget, parseUrl } from '../../src/hooks/validate-hook';

describe('parseTarget', () => {
  it('takes functionName before className and triggerName', () => {
    const fields = { functionName: 'f', className: 'Puppy', triggerName: 'beforeSave' };
    expect(parseTarget(fields)).toEqual({ kind: 'function', functionName: 'f' });
    expect(parseTarget({ ...fields, functionName: '' })).toEqual({
      kind: 'trigger',
      className: 'Puppy',
      triggerName: 'beforeSave',
    });
  });

  it.each([{}, { className: 'Puppy' }, { triggerName: 'beforeSave' }, { functionName: null }])(
    'has the words of the built-in for %j',
    fields =>
      expect(() => parseTarget(fields)).toThrow(new WebhookError('INVALID_HOOK', 'invalid hook declaration')),
  );

  it('throws nothing but a WebhookError, whatever it is given', () => {
    fc.assert(
      fc.property(fc.anything(), fc.anything(), fc.anything(), (functionName, className, triggerName) => {
        try {
          parseTarget({ functionName, className, triggerName });
        } catch (error) {
          expect(error).toBeInstanceOf(WebhookError);
        }
      }),
      { seed: 1 },
    );
  });

  it('takes only strings that are in the key as they are', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), functionName => {
        try {
          const target = parseTarget({ functionName });
          expect(hookKey(target)).toBe(`function/${functionName}`);
          expect(functionName).not.toMatch(/[.'"\s/\\]/);
        } catch (error) {
          expect(error).toBeInstanceOf(WebhookError);
        }
      }),
      { seed: 2 },
    );
  });
});

describe('parseUrl', () => {
  it.each([
    'http://localhost',
    'https://example.com/a?b=c#d',
    'HTTPS://EXAMPLE.COM',
    'http://[::1]:8080/',
    'http://127.0.0.1:1',
    'https://bücher.example/ä',
    `https://example.com/${'x'.repeat(2028)}`,
  ])('gives %s back as it was written', url => expect(parseUrl(url)).toBe(url));

  it('throws nothing but a WebhookError, whatever it is given', () => {
    fc.assert(
      fc.property(fc.oneof(fc.anything(), fc.string(), fc.webUrl()), url => {
        try {
          expect(new URL(parseUrl(url)).protocol).toMatch(/^https?:$/);
        } catch (error) {
          expect(error).toBeInstanceOf(WebhookError);
        }
      }),
      { seed: 3 },
    );
  });
});

describe('a row of _Hooks', () => {
  it('is a hook when all of it is in order', () => {
    const row = {
      objectId: 'x',
      className: 'Puppy',
      triggerName: 'beforeSave',
      url: 'http://a',
      functionName: null,
    };
    const parsed = parseHookRow(row);
    expect(parsed).toEqual({
      kind: 'hook',
      hook: { target: { kind: 'trigger', className: 'Puppy', triggerName: 'beforeSave' }, url: 'http://a' },
    });
    expect(parsed.kind === 'hook' && hookFields(parsed.hook)).toEqual({
      className: 'Puppy',
      triggerName: 'beforeSave',
      url: 'http://a',
    });
  });

  it.each([
    null,
    undefined,
    5,
    'row',
    [],
    {},
    { functionName: 5, url: 'http://a' },
    { functionName: 'f', url: null },
  ])('is unusable, with a reason and without an exception: %j', row =>
    expect(parseHookRow(row)).toEqual({ kind: 'unusable', reason: expect.any(String) }),
  );

  it('names what it stands on, even where no hook may stand', () => {
    expect(parseRowName({ functionName: 'a.b' })).toEqual({ kind: 'function', functionName: 'a.b' });
    const refused = { className: '_User', triggerName: 'nonsense' };
    expect(parseRowName({ ...refused, functionName: '' })).toEqual({ kind: 'trigger', ...refused });
    expect(parseRowName({ className: 'A' })).toBeUndefined();
    expect(parseRowName({ functionName: 5, ...refused })).toBeUndefined();
    expect(isRowOf({ kind: 'trigger', ...refused }, { functionName: 'f', ...refused })).toBe(false);
  });
});
