// Reading URLs, also when the call is hot.
import { tryUrl } from '../../src/shared/try-url';

describe('tryUrl', () => {
  it('takes internationalised names however often it has run', () => {
    for (let n = 0; n < 200_000; n++) tryUrl('http://example.com/');
    expect(tryUrl('http://bücher.example/')?.hostname).toBe('xn--bcher-kva.example');
    expect(tryUrl('http://lo\u00adcalhost/')?.hostname).toBe('localhost');
  });

  it('gives nothing for what is no URL', () => {
    for (const text of ['', 'x', '//a', 'http://', 'http://a b/']) expect(tryUrl(text)).toBeUndefined();
  });
});
