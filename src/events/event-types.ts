// The names of events, and which of them a subscription's `events` means.

/** Events about an object of Parse. */
export const objectEvents = ['object.create', 'object.update', 'object.delete'] as const;

/** Events about the deliveries themselves: how a subscription or a delivery fares. */
export const operationalEvents = [
  'subscription.failing',
  'subscription.paused',
  'delivery.exhausted',
] as const;

export type OperationalEventType = (typeof operationalEvents)[number];

const groups = ['*', 'object.*', 'custom.*', 'subscription.*', 'delivery.*'] as const;
const maxTypeLength = 128;

/** `custom.` and one or more names of letters, digits, `_` and `-`, divided by dots; 128 characters at most. */
export function isCustomEventType(type: string): boolean {
  return type.length <= maxTypeLength && /^custom(\.[A-Za-z0-9_-]+)+$/.test(type);
}

export function isOperationalEventType(type: string): boolean {
  return (operationalEvents as readonly string[]).includes(type);
}

/** What an entry of `events` may be: the name of an event, or a group of them. */
export function isEventSelector(text: string): boolean {
  return (
    ([...objectEvents, ...operationalEvents, ...groups] as readonly string[]).includes(text) ||
    isCustomEventType(text)
  );
}

/**
 * Whether an event of this type is among those selected. `*` stands for object and custom events only: operational ones
 * tell of other subscriptions, so a receiver hears of them only when they are named.
 */
export function selectsEvent(selectors: readonly string[], type: string): boolean {
  if (selectors.includes(type)) return true;
  if (selectors.includes(`${type.slice(0, type.indexOf('.'))}.*`)) return true;
  return selectors.includes('*') && !isOperationalEventType(type);
}
