// Parse Server's types leave out these modules of its own.
declare module 'parse-server/lib/defaults' {
  const defaults: { silent: boolean };
  export default defaults;
}

declare module 'parse-server/lib/Adapters/Cache/SchemaCache' {
  const schemaCache: { clear(): void };
  export default schemaCache;
}
