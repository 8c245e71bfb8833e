// Which triggers exist, on which classes each may stand, and what each one's hook can do.
// Mirrors parse-server 9: lib/triggers.js `Types` and validateClassNameForTriggers.

export const triggerNames = [
  'beforeSave',
  'afterSave',
  'beforeDelete',
  'afterDelete',
  'beforeFind',
  'afterFind',
  'beforeLogin',
  'afterLogin',
  'afterLogout',
  'beforePasswordResetRequest',
  'beforeConnect',
  'beforeSubscribe',
  'afterEvent',
] as const;

export type TriggerName = (typeof triggerNames)[number];

export function isTriggerName(value: unknown): value is TriggerName {
  return (triggerNames as readonly unknown[]).includes(value);
}

/** Classes that never take a hook, whatever the trigger: Parse's own rule since 2015. */
export const refusedClasses: readonly string[] = ['_User', '_Installation'];

/** Classes of this package; a hook on them could stop the registration of hooks. */
export const ownClasses: readonly string[] = [
  'WebhookSetting',
  'WebhookState',
  'WebhookSubscription',
  'WebhookEventKey',
];

/** System classes whose objects go through triggers in parse-server 9 and may be listened to. */
export const hookableSystemClasses: readonly string[] = [
  '_Role',
  '_Session',
  '_Product',
  '_PushStatus',
  '_JobStatus',
  '_JobSchedule',
  '_Audience',
];

const specialClasses = { file: '@File', config: '@Config', connect: '@Connect' } as const;

const fileTriggers: readonly TriggerName[] = [
  'beforeSave',
  'afterSave',
  'beforeDelete',
  'afterDelete',
  'beforeFind',
  'afterFind',
];
const configTriggers: readonly TriggerName[] = ['beforeSave', 'afterSave'];
const userOnlyTriggers: readonly TriggerName[] = ['beforeLogin', 'afterLogin', 'beforePasswordResetRequest'];

/** True when the client waits for the hook's answer; the others notify in the background. */
export function isBlockingTrigger(triggerName: TriggerName): boolean {
  return triggerName.startsWith('before') || triggerName === 'afterFind';
}

/** True when the hook's request carries one object, so that `where`, `changed` and `keys` have a meaning. */
export function hasOneObject(className: string, triggerName: TriggerName): boolean {
  if (className === specialClasses.file || className === specialClasses.connect) return false;
  return (
    triggerName.endsWith('Save') ||
    triggerName.endsWith('Delete') ||
    triggerName === 'afterLogout' ||
    triggerName === 'afterEvent'
  );
}

/** Why a hook may not stand on this class and trigger, or undefined when it may. The answer is for the API's caller. */
export function whyRefused(className: string, triggerName: TriggerName): string | undefined {
  if (refusedClasses.includes(className)) {
    return `className ${className} is refused: webhooks are not allowed on _User and _Installation`;
  }
  if (ownClasses.includes(className)) {
    return `className ${className} is refused: it holds the webhooks themselves`;
  }
  if (userOnlyTriggers.includes(triggerName)) {
    return `triggerName ${triggerName} is refused: it exists only on _User, where webhooks are not allowed`;
  }
  if (triggerName === 'beforeConnect' || className === specialClasses.connect) {
    return triggerName === 'beforeConnect' && className === specialClasses.connect
      ? undefined
      : `triggerName beforeConnect and className @Connect belong together, got ${triggerName} on ${className}`;
  }
  if (className === specialClasses.file) {
    return fileTriggers.includes(triggerName)
      ? undefined
      : `className @File has no trigger ${triggerName}: it has ${fileTriggers.join(', ')}`;
  }
  if (className === specialClasses.config) {
    return configTriggers.includes(triggerName)
      ? undefined
      : `className @Config has no trigger ${triggerName}: it has ${configTriggers.join(', ')}`;
  }
  if (triggerName === 'afterLogout' || className === '_Session') {
    return triggerName === 'afterLogout' && className === '_Session'
      ? undefined
      : `triggerName afterLogout and className _Session belong together, got ${triggerName} on ${className}`;
  }
  if (triggerName === 'beforeSave' && className === '_PushStatus') {
    return 'triggerName beforeSave is refused on _PushStatus: Parse Server allows only afterSave there';
  }
  return undefined;
}

/** True for a name that Parse Server accepts as a class and that a trigger can stand on. */
export function isHookableClassName(className: string): boolean {
  return (
    (/^[A-Za-z][A-Za-z0-9_]{0,127}$/.test(className) && !prototypeNames.includes(className)) ||
    hookableSystemClasses.includes(className) ||
    refusedClasses.includes(className) ||
    Object.values<string>(specialClasses).includes(className)
  );
}

export const prototypeNames: readonly string[] = ['__proto__', 'constructor', 'prototype'];
