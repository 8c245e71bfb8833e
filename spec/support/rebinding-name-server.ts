// A DNS server on UDP that changes its answers from one look-up to the next, and a resolver that asks only it.
import { createSocket, type RemoteInfo } from 'node:dgram';
import { promises as dns, type LookupAddress } from 'node:dns';
import { once } from 'node:events';
import { decode, encode, type Answer, type Question } from 'dns-packet';
import type { ResolveName } from '../../src/http/name-lookups';

/** What one look-up of a name gets. `silent` leaves it without an answer until `releaseSilent`. */
export type Round =
  | 'nxdomain'
  | 'silent'
  | {
      readonly a?: readonly string[];
      readonly aaaa?: readonly string[];
      /** The name that the addresses belong to. */
      readonly cname?: string;
      readonly ttl?: number;
    };

export interface RebindingNameServer {
  /** Answers look-ups of the name with one round after the other, the last one again and again. */
  script(name: string, ...rounds: readonly Round[]): void;
  /** How many look-ups of the name came, each of them a question for A and one for AAAA. */
  lookups(name: string): number;
  /** Asks this server for both families, past every cache of the system. */
  readonly resolve: ResolveName;
  /** Resolves once so many look-ups of the name have come. */
  asked(name: string, count: number): Promise<void>;
  /** Answers the silent look-ups with this round after all. */
  releaseSilent(round: Round): void;
  close(): Promise<void>;
}

/** Far beyond what a test lasts: a test's own bounds end a look-up, not the resolver's. */
const resolverTimeoutMs = 50_000;

export async function startRebindingNameServer(): Promise<RebindingNameServer> {
  const socket = createSocket('udp4');
  const scripts = new Map<string, readonly Round[]>();
  const questions = new Map<string, number>();
  const silent: ((round: Round) => void)[] = [];
  const waiting = new Set<() => void>();

  socket.on('message', (message, from) => {
    const query = decode(message);
    const question = query.questions?.[0];
    if (question === undefined) return;
    const key = `${question.type} ${question.name.toLowerCase()}`;
    const asked = questions.get(key) ?? 0;
    questions.set(key, asked + 1);
    const rounds = scripts.get(question.name.toLowerCase()) ?? [];
    const round = rounds[Math.min(asked, rounds.length - 1)] ?? 'nxdomain';
    const answer = (given: Round): void => reply({ id: query.id ?? 0, question, from, round: given });
    if (round === 'silent') silent.push(answer);
    else answer(round);
    for (const check of [...waiting]) check();
  });

  function reply(to: { id: number; question: Question; from: RemoteInfo; round: Round }): void {
    const { id, question, from, round } = to;
    // The low bits of the flags are the code of the reply: 3 says that there is no such name (RFC 1035, 4.1.1).
    const rcode = round === 'nxdomain' ? 3 : 0;
    const packet = encode({
      type: 'response',
      id,
      flags: 0x0100 | 0x0080 | rcode,
      questions: [question],
      answers: listAnswers(question, round),
    });
    socket.send(packet, from.port, from.address);
  }

  const lookups = (name: string): number =>
    Math.min(questions.get(`A ${name}`) ?? 0, questions.get(`AAAA ${name}`) ?? 0);

  socket.bind(0, '127.0.0.1');
  await once(socket, 'listening');
  const resolver = new dns.Resolver({ timeout: resolverTimeoutMs, tries: 1 });
  resolver.setServers([`127.0.0.1:${socket.address().port}`]);

  return {
    script: (name, ...rounds) => {
      scripts.set(name, rounds);
    },
    lookups,
    resolve: hostname => resolveBoth(resolver, hostname),
    asked: (name, count) =>
      new Promise(resolve => {
        const check = (): void => {
          if (lookups(name) < count) return;
          waiting.delete(check);
          resolve();
        };
        waiting.add(check);
        check();
      }),
    releaseSilent: round => {
      for (const answer of silent.splice(0)) answer(round);
    },
    close: async () => {
      resolver.cancel();
      socket.close();
      await once(socket, 'close');
    },
  };
}

async function resolveBoth(resolver: dns.Resolver, hostname: string): Promise<LookupAddress[]> {
  const [a, aaaa] = await Promise.allSettled([resolver.resolve4(hostname), resolver.resolve6(hostname)]);
  const found = [
    ...(a.status === 'fulfilled' ? a.value.map(address => ({ address, family: 4 })) : []),
    ...(aaaa.status === 'fulfilled' ? aaaa.value.map(address => ({ address, family: 6 })) : []),
  ];
  if (found.length === 0 && a.status === 'rejected') throw a.reason;
  return found;
}

function listAnswers(question: Question, round: Round): Answer[] {
  if (typeof round === 'string') return [];
  const { a = [], aaaa = [], cname, ttl = 0 } = round;
  const name = cname ?? question.name;
  const link: Answer[] =
    cname === undefined ? [] : [{ type: 'CNAME', name: question.name, ttl, data: cname }];
  switch (question.type) {
    case 'A':
      return [...link, ...a.map(data => ({ type: 'A' as const, name, ttl, data }))];
    case 'AAAA':
      return [...link, ...aaaa.map(data => ({ type: 'AAAA' as const, name, ttl, data }))];
    default:
      return [];
  }
}
