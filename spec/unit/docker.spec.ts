// docker/ read as data, since no Docker engine runs the tests: what it names exists in the code, or is pinned.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Script } from 'node:vm';
import { parse } from 'yaml';
import { z } from 'zod';
import packageJson from '../../package.json';

const projectDirectory = join(__dirname, '../..');
const read = (path: string) => readFileSync(join(projectDirectory, path), 'utf8');

const service = z.strictObject({
  image: z.string(),
  build: z.strictObject({ context: z.string(), dockerfile: z.string() }).optional(),
  command: z.array(z.string()).optional(),
  depends_on: z.record(z.string(), z.strictObject({ condition: z.literal('service_healthy') })).optional(),
  environment: z.record(z.string(), z.string()).default({}),
  ports: z.array(z.string()).default([]),
  volumes: z.array(z.string()).default([]),
  healthcheck: z.looseObject({ test: z.array(z.string()) }).optional(),
  profiles: z.array(z.string()).default([]),
  stop_grace_period: z.string().optional(),
  restart: z.string(),
});
const compose = z
  .strictObject({
    name: z.string(),
    services: z.record(z.string(), service),
    volumes: z.record(z.string(), z.unknown()),
    networks: z.strictObject({
      default: z.strictObject({
        ipam: z.strictObject({ config: z.tuple([z.strictObject({ subnet: z.string() })]) }),
      }),
    }),
  })
  .parse(parse(read('docker/compose.yaml')));
const services = Object.entries(compose.services);
const serviceNamed = (name: string) => {
  const found = compose.services[name];
  if (found === undefined) throw new Error(`no service ${name}`);
  return found;
};

/** One entry per instruction, continued lines joined, comments left out. */
const instructions = read('docker/Dockerfile')
  .replace(/^#.*\n/gm, '')
  .replace(/\\\n/g, ' ')
  .split('\n')
  .filter(line => line.trim() !== '')
  .map(line => {
    const [keyword = '', ...rest] = line.trim().split(/\s+/);
    return { keyword, text: rest.join(' ') };
  });
const instructionsOf = (keyword: string) => instructions.filter(entry => entry.keyword === keyword);
const imageEnvironment = Object.fromEntries(
  instructionsOf('ENV').flatMap(({ text }) =>
    text.split(' ').map(pair => pair.split('=') as [string, string]),
  ),
);

/** The file that makes `path` of the image: dist/ is compiled by `npm run build`. */
function sourceOf(path: string): string {
  const relative = path.replace(/^\.\//, '');
  return relative.startsWith('dist/') ? relative.replace(/^dist\//, '').replace(/\.js$/, '.ts') : relative;
}

describe('docker/Dockerfile', () => {
  it('starts from one image with a full version, of a Node.js that Parse Server allows', () => {
    const bases = instructionsOf('FROM').map(({ text }) => text.split(' ')[0]);
    const [first = ''] = bases;
    expect(first).toMatch(/^node:20\.\d+\.\d+-bookworm-slim$/);
    const stages = instructionsOf('FROM').map(({ text }) => / AS (\w+)$/.exec(text)?.[1]);
    for (const base of bases.slice(1)) expect(stages).toContain(base);
    const [, minor = '0'] = first.split('.');
    expect(Number(minor)).toBeGreaterThanOrEqual(19);
  });

  it('copies what exists, and is sent what it copies', () => {
    const sent = read('docker/Dockerfile.dockerignore')
      .split('\n')
      .filter(line => line.startsWith('!'))
      .map(line => line.slice(1));
    const copied = instructionsOf('COPY')
      .filter(({ text }) => !text.startsWith('--from='))
      .flatMap(({ text }) => text.split(' ').slice(0, -1));
    expect(copied.map(path => path.replace(/^\.\//, '')).sort()).toEqual(sent.sort());
    for (const path of copied) expect([path, existsSync(join(projectDirectory, path))]).toEqual([path, true]);
  });

  it('takes from its other stages what their commands make', () => {
    const taken = instructionsOf('COPY')
      .filter(({ text }) => text.startsWith('--from='))
      .map(({ text }) => text.split(' ')[1]);
    expect(taken).toEqual(['/app/node_modules', '/app/dist']);
    const build = z
      .object({ compilerOptions: z.object({ outDir: z.string() }) })
      .parse(JSON.parse(read('src/tsconfig.json')));
    expect(join('src', build.compilerOptions.outDir)).toBe('dist');
  });

  it('runs npm scripts that exist, and no install scripts', () => {
    const commands = instructionsOf('RUN').flatMap(({ text }) => text.split('&&'));
    for (const command of commands) {
      const script = /npm run (\S+)/.exec(command)?.[1];
      if (script !== undefined) expect(Object.keys(packageJson.scripts)).toContain(script);
      if (/npm (?:ci|install)/.test(command)) expect(command).toContain('--ignore-scripts');
    }
    expect(packageJson.devDependencies['parse-server']).toMatch(/^\d+\.\d+\.\d+$/);
  });

  it('runs an existing server as another user than root, on the port that it exposes', () => {
    expect(instructionsOf('USER').map(({ text }) => text)).toEqual(['node']);
    const [command] = instructionsOf('CMD').slice(-1);
    const [node, file] = z.array(z.string()).parse(JSON.parse(command?.text ?? ''));
    expect(node).toBe('node');
    expect(existsSync(join(projectDirectory, sourceOf(file ?? '')))).toBe(true);
    expect(instructionsOf('EXPOSE').map(({ text }) => text)).toEqual([imageEnvironment['PORT']]);
  });

  it("checks its health at Parse Server's own path", () => {
    const [check] = instructionsOf('HEALTHCHECK');
    expect(check?.text).toContain('${process.env.PORT}${process.env.PARSE_SERVER_MOUNT_PATH}/health');
    const parsed = z.array(z.string()).parse(JSON.parse(/CMD (\[.*\])$/.exec(check?.text ?? '')?.[1] ?? ''));
    expect(() => new Script(parsed[2] ?? '')).not.toThrow();
    expect(Object.keys(imageEnvironment)).toEqual(
      expect.arrayContaining(['PORT', 'PARSE_SERVER_MOUNT_PATH']),
    );
  });

  it('holds no key, id or address of a database', () => {
    expect(
      Object.keys(imageEnvironment).filter(name => /KEY|APPLICATION_ID|URI|PASSWORD/.test(name)),
    ).toEqual([]);
  });

  it('sets only variables that its server or Parse Server reads', () => {
    const readers = read('docker/parse.config.js') + read('node_modules/parse-server/lib/defaults.js');
    for (const name of Object.keys(imageEnvironment).filter(name => name !== 'NODE_ENV'))
      expect(readers).toContain(name);
  });
});

describe('docker/compose.yaml', () => {
  it('has MongoDB, Parse Server, the Dashboard and the sample receiver, and if asked for a queue and a worker', () => {
    expect(services.map(([name]) => name).sort()).toEqual([
      'dashboard',
      'mongodb',
      'parse-server',
      'receiver',
      'redis',
      'worker',
    ]);
    const optional = services.filter(([, { profiles }]) => profiles.length > 0);
    expect(optional.map(([name, { profiles }]) => [name, ...profiles])).toEqual([
      ['redis', 'queue'],
      ['worker', 'queue'],
    ]);
  });

  it('runs the worker with options that its server has, too', () => {
    const { command = [], environment, depends_on: needed } = serviceNamed('worker');
    const [node, program = '', name, option, config = ''] = command;
    expect([node, name, option]).toEqual(['node', 'worker', '--config']);
    for (const file of [program, config])
      expect([file, existsSync(join(projectDirectory, sourceOf(file)))]).toEqual([file, true]);
    expect(serviceNamed('parse-server').environment).toMatchObject(environment);
    expect(Object.keys(needed ?? {})).toContain('redis');
    expect(read('docker/.env.example')).toContain('redis://redis:6379/0');
  });

  it.each(services)('pins the image of %s', (_name, { image, build }) => {
    expect(image).toMatch(/^[\w./-]+:\d+\.\d+\.\d+$/);
    if (build !== undefined) expect(image).toBe(`${packageJson.name}:${packageJson.version}`);
  });

  it('runs the Dashboard that the tests run', () => {
    expect(serviceNamed('dashboard').image).toBe(
      `parseplatform/parse-dashboard:${packageJson.devDependencies['parse-dashboard']}`,
    );
  });

  it.each(services.filter(([, { build }]) => build !== undefined))(
    'builds %s from files that exist',
    (_name, { build }) => {
      expect(join('docker', build?.context ?? '')).toBe('.');
      expect(existsSync(join(projectDirectory, build?.dockerfile ?? ''))).toBe(true);
    },
  );

  it.each(services)(
    'publishes %s, if at all, on loopback, and the port that it listens on',
    (_name, entry) => {
      const own = entry.environment['PORT'] ?? entry.environment['RECEIVER_PORT'];
      for (const published of entry.ports) {
        const [, outside, inside] = /^127\.0\.0\.1:(\d+):(\d+)$/.exec(published) ?? [];
        expect(inside).toBe(own);
        expect(outside).toBe(inside);
      }
    },
  );

  it.each([
    ['parse-server', ['docker/parse.config.js']],
    ['worker', ['docker/parse.config.js']],
    ['receiver', ['src/dev/sample-receiver.ts']],
    ['dashboard', ['node_modules/parse-dashboard/Parse-Dashboard/server.js']],
  ])('gives %s only variables that it reads', (name, files) => {
    const code = files.map(read).join('\n');
    for (const variable of Object.keys(serviceNamed(name).environment))
      expect(code).toMatch(new RegExp(`\\b${variable}\\b`));
  });

  it('gives Parse Server every variable that it does not start without', () => {
    const needed = [...read('docker/parse.config.js').matchAll(/required\('(\w+)'\)/g)].map(
      match => match[1],
    );
    expect(needed.length).toBeGreaterThan(0);
    for (const name of ['parse-server', 'worker'])
      expect(Object.keys(serviceNamed(name).environment)).toEqual(expect.arrayContaining(needed));
  });

  it('gives the receiver the secret that it believes signatures by, and no key that others know, too', () => {
    expect(Object.keys(serviceNamed('receiver').environment).sort()).toEqual([
      'RECEIVER_HOST',
      'RECEIVER_PORT',
      'RECEIVER_SECRET',
    ]);
  });

  it('takes every secret from the environment, without a default, and names it in .env.example', () => {
    const example = read('docker/.env.example');
    const names = new Set<string>();
    for (const [, { environment }] of services)
      for (const [variable, value] of Object.entries(environment)) {
        if (/KEY$|SECRET|PASSWORD|APPLICATION_ID|APP_ID/.test(variable))
          expect(value).toMatch(/^\$\{\w+:\?[^}]+\}$/);
        const [, name] = /^\$\{(\w+)/.exec(value) ?? [];
        if (name !== undefined) names.add(name);
      }
    const listed = [...example.matchAll(/^(\w+)=(.*)$/gm)];
    expect(new Set(listed.map(match => match[1]))).toEqual(names);
    expect(listed.map(match => match[2])).toEqual(listed.map(() => ''));
    expect(read('docker/.gitignore').split('\n')).toContain('.env');
  });

  it('runs files that the image holds', () => {
    const [node, receiver = ''] = serviceNamed('receiver').command ?? [];
    expect(node).toBe('node');
    for (const file of [receiver, serviceNamed('parse-server').environment['PARSE_SERVER_CLOUD'] ?? ''])
      expect([file, existsSync(join(projectDirectory, sourceOf(file)))]).toEqual([file, true]);
  });

  it('connects to the replica set that the health check makes, under the name of its service', () => {
    const { command = [], healthcheck } = serviceNamed('mongodb');
    const set = command[command.indexOf('--replSet') + 1] ?? '';
    const script = healthcheck?.test.at(-1) ?? '';
    expect(script).toContain(`_id: '${set}'`);
    expect(script).toContain("host: 'mongodb:27017'");
    expect(() => new Script(script)).not.toThrow();
    expect(serviceNamed('parse-server').environment['PARSE_SERVER_DATABASE_URI']).toBe(
      `mongodb://mongodb:27017/parse?replicaSet=${set}`,
    );
  });

  it('gives the Dashboard the published address of Parse Server, and its network the master key', () => {
    const { environment, ports } = serviceNamed('parse-server');
    const [, port] = /^127\.0\.0\.1:(\d+):/.exec(ports[0] ?? '') ?? [];
    const address = `http://localhost:${port ?? ''}${environment['PARSE_SERVER_MOUNT_PATH'] ?? ''}`;
    expect(environment['PARSE_PUBLIC_SERVER_URL']).toBe(address);
    expect(serviceNamed('dashboard').environment['PARSE_DASHBOARD_SERVER_URL']).toBe(address);
    expect(environment['PARSE_SERVER_MASTER_KEY_IPS']?.split(',')).toContain(
      compose.networks.default.ipam.config[0].subnet,
    );
  });

  it('waits only for services that have a health check, and mounts only volumes that it declares', () => {
    for (const [, { depends_on: needed = {}, volumes }] of services) {
      for (const name of Object.keys(needed)) {
        const { healthcheck, build } = serviceNamed(name);
        expect(healthcheck !== undefined || build !== undefined).toBe(true);
      }
      for (const volume of volumes) expect(Object.keys(compose.volumes)).toContain(volume.split(':')[0]);
    }
  });

  it("asks the receiver's own health path and port", () => {
    const { healthcheck, environment } = serviceNamed('receiver');
    expect(healthcheck?.test.at(-1)).toContain(
      `http://127.0.0.1:${environment['RECEIVER_PORT'] ?? ''}/health`,
    );
    expect(read('src/dev/sample-receiver.ts')).toContain("request.url === '/health'");
  });
});

describe('docker/', () => {
  it('holds no other files than those that are checked here', () => {
    expect(
      readdirSync(join(projectDirectory, 'docker'))
        .filter(name => name !== '.env')
        .sort(),
    ).toEqual([
      '.env.example',
      '.gitignore',
      'Dockerfile',
      'Dockerfile.dockerignore',
      'compose.yaml',
      'parse.config.js',
      'server.js',
    ]);
  });
});
