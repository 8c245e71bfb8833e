// When a change stream is opened anew. The stream is one that the test makes: what a server with change streams sends.
import { EventEmitter } from 'node:events';
import { watchInserts } from '../../src/events/mongodb-watcher';
import { RecordingLogger } from '../support/dispatching';
import { ManualClock } from '../support/manual-clock';

class Stream extends EventEmitter {
  isClosed = false;

  async close(): Promise<void> {
    this.isClosed = true;
  }
}

function open() {
  const clock = new ManualClock();
  const logger = new RecordingLogger();
  const streams: Stream[] = [];
  let wakes = 0;
  const collection = {
    watch: () => {
      const stream = new Stream();
      streams.push(stream);
      return stream;
    },
  };
  const stop = watchInserts(collection, { clock, logger }, () => (wakes += 1));
  return { clock, logger, streams, stop, wakes: () => wakes };
}

describe('a watcher of inserts', () => {
  it('wakes for each insert', async () => {
    const { streams, stop, wakes } = open();
    streams[0]?.emit('change', { operationType: 'insert' });
    streams[0]?.emit('change', { operationType: 'insert' });
    expect(wakes()).toBe(2);
    await stop();
    expect(streams[0]?.isClosed).toBe(true);
  });

  it.each([
    ['fails', 'error', new Error('away'), /away/],
    ['ends with its collection', 'change', { operationType: 'invalidate' }, /the collection is gone/],
  ] as const)(
    'opens a stream that %s again after 5 s, and wakes for what was missed',
    async (_name, event, value, reason) => {
      const { clock, logger, streams, stop, wakes } = open();
      streams[0]?.emit(event, value);
      streams[0]?.emit('error', new Error('closed'));
      expect([streams[0]?.isClosed, wakes()]).toEqual([true, 0]);
      expect(logger.matching(/^warn/)).toEqual([expect.stringMatching(reason)]);
      clock.advance(4999);
      expect(streams).toHaveLength(1);
      clock.advance(1);
      expect([streams.length, wakes()]).toEqual([2, 1]);
      streams[1]?.emit('change', { operationType: 'insert' });
      expect(wakes()).toBe(2);
      await stop();
      expect(streams[1]?.isClosed).toBe(true);
    },
  );

  it('opens nothing once it is stopped', async () => {
    const { clock, streams, stop } = open();
    streams[0]?.emit('error', new Error('away'));
    await stop();
    clock.advance(60_000);
    expect(streams).toHaveLength(1);
  });
});
