#!/usr/bin/env node
// The program `parse-server-webhooks`.
import { runCommandLine } from './command-line';

// Parse Server leaves timers behind that would keep the process alive.
void runCommandLine(process.argv.slice(2)).then(code => process.exit(code));
