// Parse Server has no types for this module of its own.
declare module 'parse-server/lib/defaults' {
  const defaults: { silent: boolean };
  export default defaults;
}
