import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { randomInt } from "node:crypto";
import { existsSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync } from "node:fs";
import { request as httpRequest } from "node:http";
import { createServer } from "node:net";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import type { DescService } from "@bufbuild/protobuf";
import { type Client, createClient } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-node";
import { PATIENCE, until } from "./until.ts";

/** The folder of the project. */
export const ROOT = fileURLToPath(new URL("../../", import.meta.url));

const stacks = new WeakMap<TestContext, AsyncDisposableStack>();

/** What is undone after the test, the last first, also where it failed or ran out of time. */
export function cleanup(t: TestContext): AsyncDisposableStack {
  let stack = stacks.get(t);
  if (stack === undefined) {
    stack = new AsyncDisposableStack();
    stacks.set(t, stack);
    t.after(() => stack?.disposeAsync());
  }
  return stack;
}

/** What the promise gives, which must not take longer. */
export async function within<Value>(millis: number, what: string, promise: Promise<Value>): Promise<Value> {
  const timer = new AbortController();
  const late = delay(millis, undefined, { signal: timer.signal }).then(() =>
    assert.fail(`${what} took more than ${millis} ms`),
  );
  late.catch(() => {});
  return await Promise.race([promise, late]).finally(() => timer.abort());
}

export interface ProcessOptions {
  readonly env?: Readonly<Record<string, string>>;
  /** A process group of its own, as a terminal gives to what is typed into it. */
  readonly detached?: boolean;
  /** What runs the program, such as `["setpriv", "--reuid=65534"]`. */
  readonly through?: readonly string[];
}

export interface Ending {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** A process that is killed at the end of the test. */
export interface Running {
  readonly pid: number;
  readonly stdout: string;
  readonly stderr: string;
  readonly isAlive: boolean;
  /** Waits until standard output has this in it. Fails at once if the process ends before. */
  said(pattern: RegExp): Promise<RegExpExecArray>;
  /** Waits until it has ended, and its output is complete. */
  ended(withinMillis?: number): Promise<Ending>;
  kill(signal: NodeJS.Signals): void;
  /** Sends a signal to all of its process group, as the terminal does on Ctrl-C. */
  killGroup(signal: NodeJS.Signals): void;
}

const alive = new Map<ChildProcess, boolean>();
const killAll = () => {
  for (const [child, isGroup] of alive) {
    signalTo(child, "SIGKILL", isGroup);
  }
};
process.once("exit", killAll);
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.once(signal, () => {
    killAll();
    process.kill(process.pid, signal);
  });
}

/** Runs `latchkey …` from its sources, on the Node that runs the tests. */
export function latchkey(
  stack: AsyncDisposableStack,
  args: readonly string[],
  options: ProcessOptions = {},
): Running {
  return run(stack, [process.execPath, join(ROOT, "bin/latchkey.js"), ...args], options);
}

/** Runs a program, in the project's folder and with nothing of our environment but where programs are. */
export function run(
  stack: AsyncDisposableStack,
  command: readonly string[],
  { env = {}, detached = false, through = [] }: ProcessOptions = {},
): Running {
  const [program = "", ...args] = [...through, ...command];
  const child = spawn(program, args, {
    cwd: ROOT,
    detached,
    env: { ...environment(), ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  alive.set(child, detached);
  let stdout = "";
  let stderr = "";
  child.stdout?.setEncoding("utf8").on("data", (text: string) => {
    stdout += text;
  });
  child.stderr?.setEncoding("utf8").on("data", (text: string) => {
    stderr += text;
  });
  const closed = new Promise<void>((resolve) => child.once("close", () => resolve()));
  const exited = new Promise<void>((resolve) => {
    child.once("exit", () => resolve());
    child.once("error", (error) => {
      stderr += error.message;
      resolve();
    });
  });
  const isAlive = () => child.pid !== undefined && child.exitCode === null && child.signalCode === null;
  const told = () => `${command.slice(-2).join(" ")} said:\n${stdout}\nand on standard error:\n${stderr}`;

  stack.defer(async () => {
    signalTo(child, "SIGKILL", detached);
    await within(PATIENCE, "to kill a process", exited);
    alive.delete(child);
    // What it left behind may hold them open, and with them this process.
    child.stdout?.destroy();
    child.stderr?.destroy();
  });

  return {
    pid: child.pid ?? 0,
    get stdout() {
      return stdout;
    },
    get stderr() {
      return stderr;
    },
    get isAlive() {
      return isAlive();
    },
    async said(pattern) {
      const said = () => pattern.exec(stdout);
      await until("it was said", () => said() !== null || !isAlive()).catch(() => {});
      return said() ?? assert.fail(`it did not say ${pattern} but, as ${told()}`);
    },
    async ended(withinMillis = PATIENCE) {
      await within(withinMillis, "to end", exited).catch((error: Error) => {
        assert.fail(`${error.message}: ${told()}`);
      });
      // The rest of its output; whoever else holds the pipe open is not waited for.
      await Promise.race([closed, delay(1000)]);
      return { code: child.exitCode, signal: child.signalCode };
    },
    kill: (signal) => signalTo(child, signal, false),
    killGroup: (signal) => signalTo(child, signal, true),
  };
}

function signalTo(child: ChildProcess, signal: NodeJS.Signals, toGroup: boolean): void {
  if (child.pid === undefined) {
    return;
  }
  try {
    process.kill(toGroup ? -child.pid : child.pid, signal);
  } catch {
    // It has ended.
  }
}

function environment(): Record<string, string> {
  const { PATH = "", HOME = homedir(), TMPDIR } = process.env;
  const path = [join(ROOT, "node_modules/.bin"), PATH, join(HOME, "go/bin")].join(":");
  // Half of what it takes to start is to compile.
  const cache = join(ROOT, "node_modules/.cache/test-processes");
  return { PATH: path, HOME, NODE_COMPILE_CACHE: cache, ...(TMPDIR !== undefined && { TMPDIR }) };
}

/**
 * A command that must end with exit code 1 and one line on standard error that says why.
 *
 * @returns the line, without the name of the program before it.
 */
export async function refusal(command: Running, withinMillis?: number): Promise<string> {
  const [line = "", ...others] = await refusals(command, withinMillis);
  assert.deepEqual(others, []);
  return line;
}

/** The same for several faults, a line each. */
export async function refusals(command: Running, withinMillis?: number): Promise<string[]> {
  const ending = await command.ended(withinMillis);
  const lines = command.stderr.trimEnd().split("\n");
  assert.deepEqual(ending, { code: 1, signal: null }, command.stderr);
  for (const line of lines) {
    assert.match(line, /^latchkey: ./, `not a line for a person:\n${command.stderr}`);
    assert.doesNotMatch(line, /unforeseen fault|^latchkey: +at /, command.stderr);
  }
  return lines.map((line) => line.slice("latchkey: ".length));
}

/** A folder that is removed once nothing works in it any more. */
export function temporaryFolder(stack: AsyncDisposableStack): string {
  const folder = mkdtempSync(join(tmpdir(), "latchkey-cli-"));
  stack.defer(async () => {
    try {
      await until("nothing works in the folder", () => processesOf(folder).length === 0);
    } finally {
      for (const pid of processesOf(folder)) {
        process.kill(pid, "SIGKILL");
      }
      rmSync(folder, { recursive: true, force: true });
    }
  });
  return folder;
}

/**
 * The processes that have to do with a folder: it is in their command, in the environment that they were
 * started with, or they stand in it. Linux only.
 */
export function processesOf(folder: string): number[] {
  const mentions = (read: () => string) => {
    try {
      return read().includes(folder);
    } catch {
      // It has just ended, or is none of ours.
      return false;
    }
  };
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .filter(
      (pid) =>
        mentions(() => readFileSync(`/proc/${pid}/cmdline`, "utf8")) ||
        mentions(() => readFileSync(`/proc/${pid}/environ`, "utf8")) ||
        mentions(() => readlinkSync(`/proc/${pid}/cwd`)),
    )
    .map(Number)
    .filter((pid) => !isZombie(pid));
}

function isZombie(pid: number): boolean {
  try {
    return /^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));
  } catch {
    return true;
  }
}

/** Where a program is, or undefined. */
export function findProgram(name: string): string | undefined {
  return (environment()["PATH"] ?? "")
    .split(":")
    .map((folder) => join(folder, name))
    .find((path) => existsSync(path));
}

/** A port that nobody listens on, below those that the system gives to whoever asks for any. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = randomInt(10_000, 32_000);
    const server = createServer();
    const isFree = await new Promise<boolean>((resolve) => {
      server.once("error", () => resolve(false)).listen(port, () => resolve(true));
    });
    if (isFree) {
      await new Promise((resolve) => server.close(resolve));
      return port;
    }
  }
}

/** A client that opens a connection for each call, so that none outlives the process it leads to. */
export function clientOf<Service extends DescService>(
  service: Service,
  baseUrl: string,
  headers: Readonly<Record<string, string>> = {},
): Client<Service> {
  return createClient(
    service,
    createConnectTransport({
      baseUrl,
      httpVersion: "1.1",
      nodeOptions: { agent: false },
      interceptors: [
        (next) => (request) => {
          for (const [name, value] of Object.entries(headers)) {
            request.header.set(name, value);
          }
          return next(request);
        },
      ],
    }),
  );
}

/** A page, over a connection of its own. Status 0: nobody answers. */
export function fetchPage(url: string): Promise<{ readonly status: number; readonly body: string }> {
  return new Promise((resolve) => {
    const failed = () => resolve({ status: 0, body: "" });
    httpRequest(url, { agent: false }, (response) => {
      let body = "";
      response.setEncoding("utf8").on("data", (text: string) => {
        body += text;
      });
      response.once("error", failed).once("end", () => resolve({ status: response.statusCode ?? 0, body }));
    })
      .once("error", failed)
      .end();
  });
}
