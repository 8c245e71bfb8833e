// The receivers of docs/receivers.md as programs: each sample with a server around it, where its language needs one.
import { execFile } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { findFreePort } from './child-program';

const projectDirectory = resolve(__dirname, '../..');
const page = readFileSync(join(projectDirectory, 'docs/receivers.md'), 'utf8');

/** The first code block below a heading. */
export function sampleBelow(heading: string): string {
  const code = /```\w+\n([\s\S]*?)```/.exec(page.split(`\n${heading}\n`)[1] ?? '')?.[1];
  if (code === undefined) throw new Error(`docs/receivers.md has no code below "${heading}"`);
  return code;
}

/** Fails when the sample has no such part any more. */
function replacePart(code: string, part: string, by: string): string {
  if (!code.includes(part)) throw new Error(`the sample has no ${part}`);
  return code.replace(part, () => by);
}

export interface Command {
  readonly command: string;
  readonly args: readonly string[];
  /** Of a line that says where it listens, by its first group or on this port. */
  readonly ready: RegExp;
  readonly port?: number;
}

export interface Platform {
  readonly heading: string;
  readonly program: string;
  /** Writes a receiver around the sample that answers 204 to what it believes, and 401. */
  build(folder: string, sample: string): Promise<Command>;
}

const listens = /^listens on (\d+)$/;

export const platforms: readonly Platform[] = [
  {
    heading: '### Node',
    program: 'node',
    build: async (folder, sample) => {
      const file = join(folder, 'receiver.cjs');
      writeFileSync(
        file,
        `${sample}
const server = require('node:http').createServer(async (request, response) => {
  const chunks = await request.toArray();
  response.statusCode = verify(process.env.WEBHOOK_SECRET, request.headers, Buffer.concat(chunks)) ? 204 : 401;
  response.end();
});
server.listen(0, '127.0.0.1', () => console.log('listens on ' + server.address().port));
`,
      );
      return { command: process.execPath, args: [file], ready: listens };
    },
  },
  {
    heading: '### Python',
    program: 'python3',
    build: async (folder, sample) => {
      const file = join(folder, 'receiver.py');
      writeFileSync(
        file,
        `${sample}
import os
from http.server import BaseHTTPRequestHandler, HTTPServer

class Receiver(BaseHTTPRequestHandler):
    def do_POST(self):
        raw_body = self.rfile.read(int(self.headers["content-length"]))
        self.send_response(204 if verify(os.environ["WEBHOOK_SECRET"], self.headers, raw_body) else 401)
        self.send_header("content-length", "0")
        self.end_headers()

server = HTTPServer(("127.0.0.1", 0), Receiver)
print("listens on", server.server_port, flush=True)
server.serve_forever()
`,
      );
      return { command: 'python3', args: [file], ready: listens };
    },
  },
  {
    heading: '### PHP',
    program: 'php',
    build: async (folder, sample) => {
      const file = join(folder, 'receiver.php');
      writeFileSync(file, `<?php\n${sample}\nhttp_response_code($isAuthentic ? 204 : 401);\n`);
      const port = await findFreePort();
      // It says that it is ready on standard error.
      const command = `exec php -S 127.0.0.1:${port} '${file}' 2>&1`;
      return { command: 'sh', args: ['-c', command], ready: / started$/, port };
    },
  },
  {
    heading: '### Go',
    program: 'go',
    build: async (folder, sample) => {
      writeFileSync(join(folder, 'go.mod'), 'module receiver\n\ngo 1.21\n');
      writeFileSync(join(folder, 'verify.go'), replacePart(sample, 'package webhook', 'package main'));
      writeFileSync(
        join(folder, 'main.go'),
        `package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
)

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Println("listens on", listener.Addr().(*net.TCPAddr).Port)
	panic(http.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		authentic, err := Verify(os.Getenv("WEBHOOK_SECRET"), r.Header, body)
		switch {
		case err != nil:
			w.WriteHeader(500)
		case authentic:
			w.WriteHeader(204)
		default:
			w.WriteHeader(401)
		}
	})))
}
`,
      );
      await promisify(execFile)('go', ['build', '-o', 'receiver'], { cwd: folder });
      return { command: join(folder, 'receiver'), args: [], ready: listens };
    },
  },
  {
    // The kit: answers 200 and what it made of a call that it believes.
    heading: '## With the kit',
    program: 'node',
    build: async (folder, sample) => {
      const file = join(folder, 'receiver.mts');
      const kit = join(projectDirectory, 'src/receiver/index.ts');
      const code = replacePart(sample, "'parse-server-webhooks/receiver'", JSON.stringify(kit));
      const listening =
        ".listen(0, '127.0.0.1', function () { console.log('listens on', this.address().port); })";
      writeFileSync(file, replacePart(code, '.listen(3000)', listening));
      const tsx = require.resolve('tsx');
      return { command: process.execPath, args: ['--import', tsx, file], ready: listens };
    },
  },
];
