// Which trigger may stand on which class, held against parse-server's own list of triggers.
import {
  hasOneObject,
  isBlockingTrigger,
  isHookableClassName,
  isTriggerName,
  triggerNames,
  whyRefused,
  type TriggerName,
} from '../../src/hooks/trigger-rules';

const allowedOn = (className: string): readonly TriggerName[] =>
  triggerNames.filter(triggerName => whyRefused(className, triggerName) === undefined);

const ofObjects: readonly TriggerName[] = [
  'beforeSave',
  'afterSave',
  'beforeDelete',
  'afterDelete',
  'beforeFind',
  'afterFind',
];

describe('the triggers', () => {
  it('are those of parse-server', () => {
    // Parse Server makes a folder of logs when it is loaded, unless told not to.
    process.env['PARSE_SERVER_LOGS_FOLDER'] ??= 'null';
    const { Types } = jest.requireActual<{ Types: object }>('parse-server/lib/triggers');
    expect([...triggerNames].sort()).toEqual(Object.keys(Types).sort());
  });

  it.each(['constructor', '__proto__', 'toString', 'hasOwnProperty', 'beforesave', '', 5, null])(
    'do not include %p',
    name => expect(isTriggerName(name)).toBe(false),
  );

  it.each([
    ['Puppy', [...ofObjects, 'beforeSubscribe', 'afterEvent']],
    ['_Role', [...ofObjects, 'beforeSubscribe', 'afterEvent']],
    ['_PushStatus', [...ofObjects.slice(1), 'beforeSubscribe', 'afterEvent']],
    ['_Session', ['afterLogout']],
    ['_User', []],
    ['_Installation', []],
    ['WebhookSetting', []],
    ['WebhookState', []],
    ['@File', ofObjects],
    ['@Config', ['beforeSave', 'afterSave']],
    ['@Connect', ['beforeConnect']],
  ])('may stand on %s as %j', (className, expected) => expect(allowedOn(className)).toEqual(expected));

  it('make the client wait if they come before, and for afterFind', () => {
    expect(triggerNames.filter(isBlockingTrigger)).toEqual([
      'beforeSave',
      'beforeDelete',
      'beforeFind',
      'afterFind',
      'beforeLogin',
      'beforePasswordResetRequest',
      'beforeConnect',
      'beforeSubscribe',
    ]);
  });

  it('send one object where one is saved, deleted or logged out', () => {
    expect(triggerNames.filter(name => hasOneObject('Puppy', name))).toEqual([
      'beforeSave',
      'afterSave',
      'beforeDelete',
      'afterDelete',
      'afterLogout',
      'afterEvent',
    ]);
    expect(triggerNames.filter(name => hasOneObject('@File', name))).toEqual([]);
  });
});

it.each(['A', 'Puppy', 'a1_b', '_Role', '@File', '@Config', '@Connect', 'X'.repeat(128)])(
  '%s is a class of Parse',
  name => expect(isHookableClassName(name)).toBe(true),
);

it.each([
  '',
  '1A',
  '_Hooks',
  '_SCHEMA',
  '_Join:a:B',
  '@Other',
  'A.b',
  "A'b",
  'A b',
  'A\n',
  'prototype',
  'X'.repeat(129),
])('%j is no class that a hook can stand on', name => expect(isHookableClassName(name)).toBe(false));
