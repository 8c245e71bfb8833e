import { once, EventEmitter } from 'node:events';
import { brotliCompressSync, deflateRawSync, deflateSync, gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { createReplyBody, type ReplyBody, type ReplyBodySink } from '../../src/http/reply-body';

type Outcome = { body: Buffer; truncated?: true } | { failure: string; detail: string };

function collect(contentEncoding: string | undefined, maxBytes: number, oversize?: 'fail' | 'truncate') {
  const outcomes: Outcome[] = [];
  const events = new EventEmitter();
  const add = (outcome: Outcome): void => {
    outcomes.push(outcome);
    events.emit('outcome', outcome);
  };
  const sink: ReplyBodySink = {
    onBodyComplete: body => add({ body }),
    onBodyTruncated: body => add({ body, truncated: true }),
    onBodyFailure: (failure, detail) => add({ failure, detail }),
    onBodyDrain: () => events.emit('drain'),
  };
  const body = createReplyBody({ contentEncoding, maxBytes, oversize, sink });
  const outcome = async (): Promise<Outcome | undefined> => {
    if (outcomes.length === 0) await once(events, 'outcome');
    return outcomes[0];
  };
  return { body, outcomes, outcome, events };
}

function writeInPieces(body: ReplyBody, bytes: Buffer, size: number): void {
  for (let at = 0; at < bytes.length; at += size) body.write(bytes.subarray(at, at + size));
  body.end();
}

describe('a plain body', () => {
  it('is the bytes that came, whatever their pieces', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 9000 }), { maxLength: 20 }), pieces => {
        const whole = Buffer.concat(pieces);
        const { body, outcomes } = collect(undefined, whole.length);
        for (const piece of pieces) body.write(Buffer.from(piece));
        body.end();
        expect(outcomes).toEqual([{ body: whole }]);
      }),
      { seed: 7, numRuns: 200 },
    );
  });

  it('of a million one-byte pieces holds one buffer and not a million', () => {
    const { body, outcomes } = collect(undefined, 1_000_000);
    const before = process.memoryUsage().arrayBuffers;
    for (let i = 0; i < 1_000_000; i++) body.write(Buffer.from([i & 255]));
    body.end();
    const [outcome] = outcomes;
    expect(outcome !== undefined && 'body' in outcome && outcome.body.length).toBe(1_000_000);
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(32_000_000);
  });

  it('of one piece is that piece and no copy', () => {
    const piece = Buffer.from('{}');
    const { body, outcomes } = collect('identity', 10);
    body.write(piece);
    body.end();
    const [outcome] = outcomes;
    expect(outcome !== undefined && 'body' in outcome && outcome.body.buffer).toBe(piece.buffer);
  });

  it('fails with the byte after the cap', () => {
    const { body, outcomes } = collect(undefined, 3);
    body.write(Buffer.from('abc'));
    expect(outcomes).toEqual([]);
    body.write(Buffer.from('d'));
    expect(outcomes).toEqual([{ failure: 'too-large', detail: 'more than 3 bytes' }]);
  });
});

describe('an encoded body', () => {
  const text = JSON.stringify({ success: 'é'.repeat(5000) });

  it.each([
    ['gzip', gzipSync(text)],
    ['deflate', deflateSync(text)],
    ['deflate', deflateRawSync(text)],
    ['br', brotliCompressSync(text)],
  ])('%s is undone byte by byte', async (encoding, encoded) => {
    const { body, outcome, outcomes } = collect(encoding, Buffer.byteLength(text));
    writeInPieces(body, encoded, 1);
    expect(await outcome()).toEqual({ body: Buffer.from(text) });
    expect(outcomes).toHaveLength(1);
  });

  it('fails as too-large with the decoded byte after the cap', async () => {
    const { body, outcome } = collect('gzip', Buffer.byteLength(text) - 1);
    writeInPieces(body, gzipSync(text), 10);
    expect(await outcome()).toMatchObject({ failure: 'too-large' });
  });

  it('asks the sender to wait while a bomb is decoded, and says no more once it failed', async () => {
    const { body, outcome, outcomes, events } = collect('gzip', 20_000_000);
    const member = gzipSync(Buffer.alloc(1_000_000));
    let waits = 0;
    while (outcomes.length === 0) {
      if (body.write(member)) continue;
      waits += 1;
      await Promise.race([once(events, 'drain'), outcome()]);
    }
    body.end();
    expect(waits).toBeGreaterThan(0);
    expect(outcomes).toEqual([{ failure: 'too-large', detail: 'more than 20000000 bytes' }]);
  });

  it('that decodes to nothing is bounded by what came over the wire', () => {
    const { body, outcomes } = collect('gzip', 100);
    const nothing = gzipSync('');
    for (let i = 0; i < 200 && outcomes.length === 0; i++) body.write(nothing);
    expect(outcomes).toEqual([{ failure: 'too-large', detail: 'more than 1224 encoded bytes' }]);
  });

  it.each(['zstd', 'gzip, gzip', 'GZIP2'])(
    'of encoding %j fails as protocol, unless it is empty',
    encoding => {
      const full = collect(encoding, 100);
      full.body.write(Buffer.from('x'));
      expect(full.outcomes).toMatchObject([{ failure: 'protocol' }]);
      const empty = collect(encoding, 100);
      empty.body.end();
      expect(empty.outcomes).toEqual([{ body: Buffer.alloc(0) }]);
    },
  );

  it('says nothing any more once it is discarded', async () => {
    const { body, outcomes } = collect('gzip', 100);
    body.write(gzipSync(Buffer.alloc(100_000)));
    body.discard();
    body.end();
    // A decoder that was not ended would have spoken by then: this one is.
    const other = collect('gzip', 100);
    other.body.write(gzipSync(Buffer.alloc(100_000)));
    await other.outcome();
    expect(outcomes).toEqual([]);
  });
});

describe('a body that may be truncated', () => {
  it('is whole up to the cap, and its beginning above', () => {
    fc.assert(
      fc.property(
        fc.array(fc.uint8Array({ maxLength: 90 }), { maxLength: 20 }),
        fc.nat(900),
        (pieces, cap) => {
          const whole = Buffer.concat(pieces);
          const { body, outcomes } = collect(undefined, cap, 'truncate');
          for (const piece of pieces) {
            if (outcomes.length > 0) break;
            body.write(Buffer.from(piece));
          }
          if (outcomes.length === 0) body.end();
          expect(outcomes).toEqual([
            whole.length <= cap ? { body: whole } : { body: whole.subarray(0, cap), truncated: true },
          ]);
        },
      ),
      { seed: 7, numRuns: 200 },
    );
  });

  it.each([
    ['gzip', gzipSync],
    ['deflate', deflateSync],
    ['br', brotliCompressSync],
  ] as const)('is its decoded beginning, %s', async (encoding, compress) => {
    const whole = Buffer.alloc(100_000, 'abc');
    const { body, outcome } = collect(encoding, 1000, 'truncate');
    writeInPieces(body, compress(whole), 50);
    expect(await outcome()).toEqual({ body: whole.subarray(0, 1000), truncated: true });
  });

  it('ends when it decodes to nothing for ever', async () => {
    const { body, outcome } = collect('gzip', 1000, 'truncate');
    const nothing = Buffer.concat(new Array<Buffer>(1000).fill(gzipSync('')));
    for (let written = 0; written < 20; written++) body.write(nothing);
    expect(await outcome()).toEqual({ body: Buffer.alloc(0), truncated: true });
  });
});
