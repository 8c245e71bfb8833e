// Wrong use, told in one line.

/** The command line or the configuration is wrong; its message is for the user. */
export class UsageError extends Error {}
