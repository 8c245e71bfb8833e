import { loadQueuePackages } from '../../src/queue/queue-packages';
import { parseRedisAddress } from '../../src/queue/redis-address';

describe('the address of Redis', () => {
  it('has defaults for port and database', () => {
    expect(parseRedisAddress('redis://queue.example')).toEqual({
      host: 'queue.example',
      port: 6379,
      db: 0,
      username: undefined,
      password: undefined,
      isTls: false,
      label: 'queue.example:6379/0',
    });
  });

  it('holds user, password, TLS and database, and a name without credentials', () => {
    expect(parseRedisAddress('rediss://worker:p%40ss%2Fword@[::1]:6380/3')).toEqual({
      host: '::1',
      port: 6380,
      db: 3,
      username: 'worker',
      password: 'p@ss/word',
      isTls: true,
      label: '[::1]:6380/3',
    });
  });

  it.each([
    'queue.example:6379',
    'http://:secret@queue.example',
    'redis://',
    'redis://:secret@queue.example/first',
    'redis://:secret@queue.example/0?family=6',
    'redis://:sec%ret@queue.example',
  ])('is refused, without being repeated, when it is %s', text => {
    const refuse = (): unknown => parseRedisAddress(text);
    expect(refuse).toThrow(expect.objectContaining({ code: 'INVALID_OPTION' }));
    expect(refuse).toThrow(/^queue\.redis (?!.*sec%?ret)/);
  });
});

describe('the packages of the queue', () => {
  it('are those that are installed here', () => {
    const { Queue, Worker, Redis } = loadQueuePackages();
    expect([Queue.name, Worker.name, Redis.name]).toEqual(['Queue', 'Worker', 'Redis']);
  });

  it.each(['bullmq', 'ioredis'])('are asked for by name when %s is missing', missing => {
    const load = (name: string): unknown => {
      if (name === missing) throw new Error(`Cannot find module '${name}'`);
      return { Queue: Map, Worker: Map, Redis: Map };
    };
    const refusal = {
      code: 'BROKEN_INSTALL',
      message: expect.stringContaining('npm install bullmq@6 ioredis@5'),
    };
    expect(() => loadQueuePackages(load)).toThrow(expect.objectContaining(refusal));
    expect(() => loadQueuePackages(load)).toThrow(missing);
  });

  it('are refused when they are something else', () => {
    expect(() => loadQueuePackages(() => ({}))).toThrow(/bullmq/);
  });
});
