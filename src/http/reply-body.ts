// Collects the body of a reply, its content-encoding undone, never holding more than the cap. Knows no undici.
import type { Transform } from 'node:stream';
import { createBrotliDecompress, createGunzip, createInflate, createInflateRaw } from 'node:zlib';
import { describeError } from './describe-error';

/** Who hears what became of a body. Exactly one of the first three comes, unless it is discarded first. */
export interface ReplyBodySink {
  onBodyComplete(body: Buffer): void;
  /** More than the cap came, and `oversize` is `truncate`. What else is written is dropped. */
  onBodyTruncated(body: Buffer): void;
  onBodyFailure(failure: 'too-large' | 'protocol', detail: string): void;
  /** The decoder can take more, after `write` answered false. */
  onBodyDrain(): void;
}

export interface ReplyBody {
  /** Takes the next bytes; false asks the sender to wait for onBodyDrain. */
  write(chunk: Buffer): boolean;
  end(): void;
  /** Frees what is held; nothing is said to the sink any more. */
  discard(): void;
}

export interface ReplyBodyOptions {
  /** The header, or undefined when there is none. */
  readonly contentEncoding: string | undefined;
  readonly maxBytes: number;
  /** Whether a body above the cap is a failure, or cut there. Default `fail`. */
  readonly oversize?: 'fail' | 'truncate' | undefined;
  readonly sink: ReplyBodySink;
}

/** Chooses how a body is collected, by its content-encoding. */
export function createReplyBody(options: ReplyBodyOptions): ReplyBody {
  const encoding = options.contentEncoding?.trim().toLowerCase() ?? '';
  return encoding === '' || encoding === 'identity'
    ? new PlainReplyBody(options)
    : new EncodedReplyBody(encoding, options);
}

const noBytes = Buffer.alloc(0);

class PlainReplyBody implements ReplyBody {
  readonly #bytes: CappedBytes;
  readonly #sink: ReplyBodySink;
  readonly #truncates: boolean;

  constructor(options: ReplyBodyOptions) {
    this.#bytes = new CappedBytes(options.maxBytes);
    this.#sink = options.sink;
    this.#truncates = options.oversize === 'truncate';
  }

  write(chunk: Buffer): boolean {
    if (this.#bytes.append(chunk)) return true;
    if (this.#truncates) this.#sink.onBodyTruncated(this.#bytes.takeFilledWith(chunk));
    else this.#sink.onBodyFailure('too-large', this.#bytes.overflowDetail);
    return true;
  }

  end(): void {
    this.#sink.onBodyComplete(this.#bytes.take());
  }

  discard(): void {
    this.#bytes.clear();
  }
}

/** Some pieces as they come from a socket, 64 KiB each. */
const maxUndecodedBytes = 256 * 1024;

class EncodedReplyBody implements ReplyBody {
  readonly #encoding: string;
  readonly #sink: ReplyBodySink;
  readonly #bytes: CappedBytes;
  readonly #maxWireBytes: number;
  readonly #truncates: boolean;
  #wireBytes = 0;
  #decoder: Transform | undefined;
  #finished = false;

  constructor(encoding: string, options: ReplyBodyOptions) {
    this.#encoding = encoding;
    this.#sink = options.sink;
    this.#bytes = new CappedBytes(options.maxBytes);
    this.#truncates = options.oversize === 'truncate';
    // Empty blocks and empty gzip members decode to nothing, for ever. Honest compression adds 5 bytes per
    // 16 kB to what it cannot shrink (RFC 1951, section 3.2.4), so twice the cap is never reached by it.
    // A body that is cut is small beside what comes in one piece, before the decoder has had its turn.
    this.#maxWireBytes = 2 * options.maxBytes + (this.#truncates ? maxUndecodedBytes : 1024);
  }

  write(chunk: Buffer): boolean {
    if (this.#finished || chunk.length === 0) return true;
    this.#wireBytes += chunk.length;
    if (this.#wireBytes > this.#maxWireBytes) {
      if (this.#truncates) this.#truncate(noBytes);
      else this.#fail('too-large', `more than ${this.#maxWireBytes} encoded bytes`);
      return true;
    }
    this.#decoder ??= this.#startDecoder(chunk);
    return this.#decoder === undefined || this.#decoder.write(chunk);
  }

  end(): void {
    if (this.#finished) return;
    // Without a byte there is nothing to decode: a 204 may carry any content-encoding.
    if (this.#decoder === undefined) this.#complete();
    else this.#decoder.end();
  }

  discard(): void {
    this.#finished = true;
    this.#decoder?.destroy();
    this.#bytes.clear();
  }

  #startDecoder(firstChunk: Buffer): Transform | undefined {
    const decoder = createDecoder(this.#encoding, firstChunk[0] ?? 0);
    if (decoder === undefined) {
      this.#fail('protocol', `content-encoding is not one of gzip, deflate, br`);
      return undefined;
    }
    return decoder
      .on('data', (chunk: Buffer) => {
        if (this.#finished || this.#bytes.append(chunk)) return;
        if (this.#truncates) this.#truncate(chunk);
        else this.#fail('too-large', this.#bytes.overflowDetail);
      })
      .on('error', error => this.#fail('protocol', `undecodable ${this.#encoding}: ${describeError(error)}`))
      .on('end', () => this.#complete())
      .on('drain', () => {
        if (!this.#finished) this.#sink.onBodyDrain();
      });
  }

  #complete(): void {
    if (this.#finished) return;
    this.#finished = true;
    this.#sink.onBodyComplete(this.#bytes.take());
  }

  #truncate(chunk: Buffer): void {
    const body = this.#bytes.takeFilledWith(chunk);
    this.discard();
    this.#sink.onBodyTruncated(body);
  }

  #fail(failure: 'too-large' | 'protocol', detail: string): void {
    if (this.#finished) return;
    this.discard();
    this.#sink.onBodyFailure(failure, detail);
  }
}

function createDecoder(encoding: string, firstByte: number): Transform | undefined {
  switch (encoding) {
    case 'gzip':
    case 'x-gzip': // RFC 9110, section 8.4.1.3
      return createGunzip();
    case 'deflate':
      // RFC 9110, section 8.4.1.2: "deflate" is zlib's format, but some send bare deflate. The low half of the
      // first byte of zlib's format is always 8 (RFC 1950, section 2.2).
      return (firstByte & 0x0f) === 8 ? createInflate() : createInflateRaw();
    case 'br':
      return createBrotliDecompress();
    default:
      return undefined;
  }
}

/** Bytes up to a cap in one buffer that doubles: a body in a million pieces costs no million objects. */
class CappedBytes {
  readonly #maxBytes: number;
  #buffer: Buffer = noBytes;
  #isOwn = false;
  #length = 0;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  get overflowDetail(): string {
    return `more than ${this.#maxBytes} bytes`;
  }

  /** False when the cap would be passed; nothing is kept of the chunk then. */
  append(chunk: Buffer): boolean {
    const length = this.#length + chunk.length;
    if (length > this.#maxBytes) return false;
    if (this.#length === 0) {
      // Most replies are one chunk: it is kept as it is.
      this.#buffer = chunk;
    } else {
      if (!this.#isOwn || length > this.#buffer.length) this.#grow(length);
      chunk.copy(this.#buffer, this.#length);
    }
    this.#length = length;
    return true;
  }

  take(): Buffer {
    return this.#buffer.subarray(0, this.#length);
  }

  /** Everything up to the cap, when `chunk` would pass it. A copy: a large chunk is not kept for its beginning. */
  takeFilledWith(chunk: Buffer): Buffer {
    return Buffer.concat([this.take(), chunk.subarray(0, this.#maxBytes - this.#length)]);
  }

  clear(): void {
    this.#buffer = noBytes;
    this.#isOwn = false;
    this.#length = 0;
  }

  #grow(length: number): void {
    const grown = Buffer.allocUnsafeSlow(Math.min(this.#maxBytes, Math.max(2 * length, 4096)));
    this.#buffer.copy(grown, 0, 0, this.#length);
    this.#buffer = grown;
    this.#isOwn = true;
  }
}
