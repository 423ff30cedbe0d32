// The real thing: `tintype up` with the models that ship, on a free port, in a folder of its own. No part of it is a double.
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

import type { TestProject } from "vitest/node";

/** Longest a start may take: the first makes a database. */
const READY_MS = 180_000;

declare module "vitest" {
  export interface ProvidedContext {
    url: string;
    /** Where the shared stack keeps its data, its administrator's token too. */
    folder: string;
  }
}

export interface StackOptions {
  /** Data that is there already. */
  folder?: string;
  listen?: string;
  env?: Record<string, string>;
  /** Whether it gets only what of the machine nobody else wants. */
  yielding?: boolean;
}

export class Stack {
  private constructor(
    readonly url: string,
    readonly folder: string,
    private readonly child: ChildProcess,
  ) {}

  /** Starts one; on data and an address that were used before where they are named. */
  static async start(options: StackOptions = {}): Promise<Stack> {
    const { folder = mkdtempSync(join(tmpdir(), "tt-")), listen = "127.0.0.1:0", env = {}, yielding = false } = options;
    const program = process.env.TINTYPE_PROGRAM;
    if (!program) throw new Error("TINTYPE_PROGRAM must name the tintype program; scripts/test-web.sh does");
    const repository = fileURLToPath(new URL("../../..", import.meta.url));
    const command = [program, "up", "--data-dir", folder, "--listen", listen];
    const [name = program, ...words] = yielding ? ["nice", "-n", "19", ...command] : command;
    const child = spawn(name, words, {
      cwd: repository,
      env: { ...process.env, ...env },
      stdio: ["ignore", "pipe", "pipe"],
    });
    const url = await ready(child);
    return new Stack(url, folder, child);
  }

  get pid(): number {
    return this.child.pid ?? 0;
  }

  get adminToken(): string {
    return readFileSync(join(this.folder, "admin-token"), "utf8").trim();
  }

  get address(): string {
    return new URL(this.url).host;
  }

  /** Ends it at once, as a crash would. */
  async kill(): Promise<void> {
    await this.end("SIGKILL");
  }

  /** Ends it in good order and forgets its data. */
  async stop(): Promise<void> {
    await this.end("SIGTERM");
    rmSync(this.folder, { recursive: true, force: true });
  }

  private async end(signal: NodeJS.Signals): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    const gone = new Promise((done) => this.child.once("exit", done));
    this.child.kill(signal);
    await gone;
  }
}

function ready(child: ChildProcess): Promise<string> {
  return new Promise((resolve, reject) => {
    let said = "";
    const late = setTimeout(() => reject(new Error(`not ready in ${READY_MS} ms; it said: ${said}`)), READY_MS);
    const hear = (chunk: Buffer) => {
      said += chunk.toString();
      const found = /export TINTYPE_URL=(\S+)/.exec(said);
      if (found?.[1]) {
        clearTimeout(late);
        resolve(found[1]);
      }
    };
    child.stdout?.on("data", hear);
    child.stderr?.on("data", hear);
    child.once("error", reject);
    child.once("exit", (code) => reject(new Error(`it ended with ${code}; it said: ${said}`)));
  });
}

/**
 * An address to be used twice: a port that is free, outside the range the system gives to outgoing connections, so that nobody
 * has it while its server is away.
 */
export async function lastingAddress(): Promise<string> {
  for (;;) {
    const port = 10_000 + Math.floor(Math.random() * 20_000);
    const server = createServer();
    const free = await new Promise<boolean>((done) => {
      server.once("error", () => done(false));
      server.listen(port, "127.0.0.1", () => done(true));
    });
    if (!free) continue;
    await new Promise((closed) => server.close(closed));
    return `127.0.0.1:${port}`;
  }
}

/** Vitest's global set-up: one stack for all flows that do not break theirs. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  // One that runs already, for who works on the flows.
  const running = process.env.TINTYPE_URL;
  if (running) {
    project.provide("url", running);
    project.provide("folder", process.env.TINTYPE_DATA_DIR ?? "");
    return async () => {};
  }
  const stack = await Stack.start();
  project.provide("url", stack.url);
  project.provide("folder", stack.folder);
  return () => stack.stop();
}
