// A receiver whose own clock gives no time: nothing can be told of the age of a webhook, so nothing is believed.
import { createSigner, parseSecret } from '../../src/http/webhook-signature';
import { verify } from '../../src/receiver';
import { systemClock } from '../../src/shared/clock';
import { generateSecret } from '../../src/shared/secret-format';

const secret = generateSecret(systemClock);
const body = Buffer.from('{}');
const signature = createSigner({ secrets: [parseSecret(secret)] }).sign('msg_1', 1, body);
const headers = { 'webhook-id': 'msg_1', 'webhook-timestamp': '1', 'webhook-signature': signature };

it.each([[NaN], [Infinity], [-Infinity], [undefined], ['1000'], [new Date(1000)]])(
  'a webhook is not believed by a clock that gives %p',
  value => {
    const now = () => value as number;
    expect(() => verify(body, headers, secret, { now })).toThrow(RangeError);
    expect(() => verify(body, headers, secret, { now, toleranceSeconds: Infinity })).toThrow(/^now\(\) must/);
  },
);
