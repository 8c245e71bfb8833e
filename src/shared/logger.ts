// What this package needs of a logger. Parse Server's own logger satisfies it; nothing secret is ever passed in.

export interface Logger {
  info(message: string): void;
  warn(message: string): void;
  error(message: string): void;
}
