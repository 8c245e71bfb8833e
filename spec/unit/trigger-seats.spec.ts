// What stands in the real lib/triggers.js of Parse Server while hooks, cloud code and whole applications come and go.
import { createRequire } from 'node:module';
import { hookKey, type RowName } from '../../src/hooks/hook';
import { loadInternals, type CloudHandler, type ParseRequest } from '../../src/parse/internals';
import { TriggerSeats } from '../../src/parse/trigger-seats';

const { triggers } = loadInternals();
const native = { ...triggers };
const logging = createRequire(require.resolve('parse-server'))('./logger') as {
  getLogger(): object;
  setLogger(logger: object): void;
};
const appId = 'seats-app';
const greet: RowName = { kind: 'function', functionName: 'greet' };
const save: RowName = { kind: 'trigger', className: 'Puppy', triggerName: 'beforeSave' };
const targets = [greet, save] as const;
const validator = { requireUser: true };

let warnings: string[] = [];
let made: TriggerSeats[] = [];
const realLogger = logging.getLogger();

beforeEach(() => {
  warnings = [];
  made = [];
  logging.setLogger({ warn: (message: string) => warnings.push(message) });
});

afterEach(() => {
  for (const seats of made) seats.restore();
  triggers._unregisterAll();
  logging.setLogger(realLogger);
  expect(triggers).toEqual(native);
});

/** Seats whose hooks answer `label` after what the application's own code answered. */
function intercept(label = 'hook', applicationId = appId): TriggerSeats {
  const seats = new TriggerSeats(applicationId, triggers, async (_key, request, cloud) => {
    const own = (await cloud?.(request)) as string | undefined;
    return own === undefined ? label : `${own}, ${label}`;
  });
  made.push(seats);
  seats.intercept();
  seats.beginCloudCode();
  return seats;
}

function hook(seats: TriggerSeats, ...hooked: readonly RowName[]): void {
  seats.setHooked(new Map(hooked.map(target => [hookKey(target), target])));
}

function register(target: RowName, handler: CloudHandler | undefined, given?: unknown, app = appId): void {
  if (target.kind === 'function') triggers.addFunction(target.functionName, handler, given, app);
  else triggers.addTrigger(target.triggerName, target.className, handler, app, given);
}

function standing(target: RowName, app = appId): CloudHandler | undefined {
  return target.kind === 'function'
    ? triggers.getFunction(target.functionName, app)
    : triggers.getTrigger(target.className, target.triggerName, app);
}

function validatorOf(target: RowName, app = appId): unknown {
  return triggers.getValidator(
    target.kind === 'function' ? target.functionName : `${target.triggerName}.${target.className}`,
    app,
  );
}

const run = async (target: RowName, request: ParseRequest = {}, app = appId): Promise<unknown> =>
  standing(target, app)?.(request);
const cloud = (): string => 'cloud';

describe.each(targets.map(target => [hookKey(target), target] as const))(
  'cloud code that was there before, on %s',
  (_key, target) => {
    it('keeps its validator when a hook comes and when it goes', async () => {
      register(target, cloud, validator);
      const seats = intercept();
      hook(seats, target);
      expect(validatorOf(target)).toBe(validator);
      expect(await run(target)).toBe('cloud, hook');
      hook(seats);
      expect(validatorOf(target)).toBe(validator);
      expect(await run(target)).toBe('cloud');
    });

    it('is known as cloud code with and without a hook', () => {
      register(target, cloud);
      const seats = intercept();
      expect(seats.hasCloudCode(target)).toBe(true);
      hook(seats, target);
      expect(seats.hasCloudCode(target)).toBe(true);
    });

    it('stands there as registered after restore', () => {
      register(target, cloud, validator);
      const seats = intercept();
      hook(seats, target);
      expect(standing(target)).not.toBe(cloud);
      seats.restore();
      expect(standing(target)).toBe(cloud);
      expect(validatorOf(target)).toBe(validator);
    });

    it('is found below the hook of earlier webhooks that are still in force', async () => {
      const first = intercept('first');
      register(target, cloud, validator);
      hook(first, target);
      const second = intercept('second');
      expect(second.hasCloudCode(target)).toBe(true);
      hook(second, target);
      expect(validatorOf(target)).toBe(validator);
      expect(await run(target)).toBe('cloud, second');
    });

    it('can be taken away by its application', () => {
      register(target, cloud);
      const seats = intercept();
      register(target, undefined);
      expect(standing(target)).toBeUndefined();
      expect(seats.hasCloudCode(target)).toBe(false);
      seats.restore();
      expect(standing(target)).toBeUndefined();
    });

    it('is not what the built-in sends webhooks with', async () => {
      register(target, Object.assign(cloud.bind(undefined), { url: 'http://127.0.0.1:9/' }), null);
      const seats = intercept();
      expect(seats.hasCloudCode(target)).toBe(false);
      hook(seats, target);
      expect(await run(target)).toBe('hook');
      seats.restore();
      expect(standing(target)).toBeUndefined();
    });

    it('is forgotten when Parse Server forgets it, and the hook stays', async () => {
      register(target, cloud, validator);
      const seats = intercept();
      hook(seats, target);
      triggers._unregisterAll();
      expect(await run(target)).toBe('hook');
      expect(validatorOf(target)).toBeUndefined();
      expect(seats.hasCloudCode(target)).toBe(false);
    });

    it('causes no warning about duplicates, whatever comes and goes', () => {
      register(target, cloud, validator);
      for (let n = 0; n < 2; n++) {
        const seats = intercept();
        hook(seats, target);
        hook(seats);
        hook(seats, target);
        seats.restore();
      }
      expect(warnings).toEqual([]);
    });
  },
);

describe('TriggerSeats', () => {
  it('leaves Parse Server to warn of an application that registers twice', () => {
    intercept();
    register(greet, cloud);
    expect(warnings).toEqual([]);
    register(greet, cloud);
    expect(warnings).toHaveLength(1);
  });

  it('gives Parse Server its logger back when a registration is refused', () => {
    intercept();
    const logger = logging.getLogger();
    expect(() => triggers.addTrigger('beforeSave', '_PushStatus', cloud, appId)).toThrow(/_PushStatus/);
    expect(logging.getLogger()).toBe(logger);
  });

  it('gives an earlier function with two parameters its response object', async () => {
    const own = (_request: ParseRequest, response: unknown): void =>
      (response as { success(result: string): void }).success('own');
    register(greet, own);
    const seats = intercept();
    hook(seats, greet);
    expect(standing(greet)).toHaveLength(2);
    const results: unknown[] = [];
    await standing(greet)?.({}, { success: (result: unknown) => results.push(result) });
    expect(results).toEqual(['own']);
    seats.restore();
    expect(standing(greet)).toBe(own);
  });

  it('does the skipping of an earlier validator with skipWithMasterKey, and puts that validator back', async () => {
    const skipping = { skipWithMasterKey: true };
    register(save, cloud, skipping);
    const seats = intercept();
    hook(seats, save);
    expect(validatorOf(save)).toEqual({ skipWithMasterKey: false });
    expect(await run(save, { master: true })).toBe('hook');
    expect(await run(save, { master: false })).toBe('cloud, hook');
    seats.restore();
    expect(validatorOf(save)).toBe(skipping);
  });

  it('takes a hook without cloud code away at restore', () => {
    const seats = intercept();
    hook(seats, greet, save);
    seats.restore();
    expect(standing(greet)).toBeUndefined();
    expect(standing(save)).toBeUndefined();
  });

  it('puts cloud code that came while it intercepted back as it was registered', () => {
    const seats = intercept();
    hook(seats, save);
    register(save, cloud, validator);
    triggers.addConnectTrigger('beforeConnect', cloud, appId, validator);
    seats.restore();
    expect(standing(save)).toBe(cloud);
    expect(validatorOf(save)).toBe(validator);
    expect(triggers.getTrigger('@Connect', 'beforeConnect', appId)).toBe(cloud);
    expect(triggers.getValidator('beforeConnect.@Connect', appId)).toBe(validator);
  });

  it('ignores the webhooks that the built-in loads at a second attempt to start', () => {
    const seats = intercept();
    seats.endCloudCode();
    register(greet, Object.assign(cloud.bind(undefined), { url: 'http://127.0.0.1:9/' }), null);
    expect(standing(greet)).toBeUndefined();
    expect(seats.hasCloudCode(greet)).toBe(false);
  });
});

describe('two applications of one process', () => {
  it.each(['first', 'second'])('keep the one when the %s stops', async stops => {
    const seats = [intercept('A', 'app-a'), intercept('B', 'app-b')] as const;
    const [stopping, staying] = stops === 'first' ? seats : [seats[1], seats[0]];
    const app = stops === 'first' ? 'app-b' : 'app-a';
    hook(staying, save);
    stopping.restore();
    register(save, cloud, validator, app);
    expect(await run(save, {}, app)).toBe(stops === 'first' ? 'cloud, B' : 'cloud, A');
  });

  it('leave the functions of Parse Server as they were when both have stopped', () => {
    const first = intercept('A', 'app-a');
    const second = intercept('B', 'app-b');
    expect(triggers.addFunction).not.toBe(native.addFunction);
    first.restore();
    second.restore();
    expect(triggers).toEqual(native);
  });

  it('let registrations of a third pass', () => {
    intercept('A', 'app-a');
    intercept('B', 'app-b');
    register(greet, cloud, validator, 'app-c');
    triggers.addConnectTrigger('beforeConnect', cloud, 'app-c', validator);
    expect(standing(greet, 'app-c')).toBe(cloud);
    expect(validatorOf(greet, 'app-c')).toBe(validator);
    expect(triggers.getTrigger('@Connect', 'beforeConnect', 'app-c')).toBe(cloud);
  });

  it('leave a function that somebody else put over theirs, and it works', () => {
    const seats = intercept();
    const ours = triggers.addFunction;
    const names: string[] = [];
    triggers.addFunction = (name, ...rest) => {
      names.push(name);
      ours(name, ...rest);
    };
    const theirs = triggers.addFunction;
    seats.restore();
    expect(triggers.addFunction).toBe(theirs);
    const again = intercept();
    register(greet, cloud);
    expect(names).toEqual(['greet']);
    expect(again.hasCloudCode(greet)).toBe(true);
    again.restore();
    expect(standing(greet)).toBe(cloud);
    triggers.addFunction = native.addFunction;
  });
});

describe('newer webhooks of the same application', () => {
  it('have the registrations, also after the older ones have stopped', async () => {
    const older = intercept('older');
    const newer = intercept('newer');
    hook(newer, save);
    older.restore();
    register(save, cloud);
    expect(await run(save)).toBe('cloud, newer');
  });

  it('leave the hooks of the older ones in force until their own are', async () => {
    const older = intercept('older');
    hook(older, greet, save);
    const newer = intercept('newer');
    expect(await run(save)).toBe('older');
    hook(newer, save);
    expect(await run(save)).toBe('newer');
    expect(standing(greet)).toBeUndefined();
  });

  it('keep what they have when the older ones change their hooks or stop', async () => {
    const older = intercept('older');
    hook(older, greet);
    const newer = intercept('newer');
    hook(newer, save);
    hook(older, greet, save);
    older.restore();
    expect(await run(save)).toBe('newer');
    expect(standing(greet)).toBeUndefined();
  });

  it('take the hooks of the older ones away when they stop before they have any', () => {
    const older = intercept('older');
    hook(older, save);
    intercept('newer').restore();
    expect(standing(save)).toBeUndefined();
  });
});
