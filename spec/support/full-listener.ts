// A TCP port that leaves connections without an answer: its queue is full and nobody accepts.
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';

export interface FullListener {
  readonly port: number;
  close(): Promise<void>;
}

/**
 * A listener in a thread that stands still: it accepts nothing, and its queue is filled by connections of another
 * thread, so that the kernel leaves further ones without an answer.
 */
export async function startFullListener(): Promise<FullListener> {
  const worker = new Worker(
    `const { parentPort } = require('node:worker_threads');
     const server = require('node:net').createServer();
     server.listen({ port: 0, host: '127.0.0.1', backlog: 1 }, () => {
       parentPort.postMessage(server.address().port);
       setImmediate(() => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0));
     });`,
    { eval: true },
  );
  const [port] = (await once(worker, 'message')) as [number];
  const filler = new Worker(
    `const { parentPort, workerData } = require('node:worker_threads');
     const { connect } = require('node:net');
     // With a backlog of 1 Linux takes two; what is more stays unanswered.
     let open = 0;
     for (let i = 0; i < 2; i++) {
       connect(workerData, '127.0.0.1').on('error', () => undefined).on('connect', () => {
         if (++open === 2) parentPort.postMessage('full');
       });
     }`,
    { eval: true, workerData: port },
  );
  await once(filler, 'message');
  return {
    port,
    close: async () => {
      await filler.terminate();
      await worker.terminate();
    },
  };
}
