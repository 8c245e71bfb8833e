// Whether a save touches the keys that a hook asked for.

/**
 * True when one of `changed` (a hook's list) names, contains or lies within one of `updateKeys` (the keys of a save):
 * `address` matches a save of `address.city`, and `address.city` a save of the whole `address`.
 */
export function changedMatches(changed: readonly string[], updateKeys: readonly string[]): boolean {
  return changed.some(wanted => updateKeys.some(key => isWithin(wanted, key) || isWithin(key, wanted)));
}

function isWithin(path: string, ancestor: string): boolean {
  return path.startsWith(ancestor) && (path.length === ancestor.length || path[ancestor.length] === '.');
}
