import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import type { TestContext } from "node:test";
import { urlOf } from "../support/cluster.ts";
import { cleanup, fetchPage, freePort, latchkey, type Running, run } from "../support/process.ts";
import { startService } from "../support/service.ts";
import { until } from "../support/until.ts";
import { inspect } from "./inspector.ts";
import { type Asked, startOrdinaryCalls } from "./ordinary-calls.ts";

const MIB = 1024 * 1024;
/** What may stay of an attack: code that was compiled meanwhile, and memory that the allocator keeps for later. */
const HEAP_LEFT = 6 * MIB;
const MEMORY_LEFT = 160 * MIB;
/** How long something of it may be there: less than the service's own time-outs would take to end it. */
const LEFT_MILLIS = 20_000;

/** A service in a process of its own, which strangers attack. */
export interface Besieged extends Asked {
  readonly port: number;
  readonly process: Running;
  /** The most memory that it has ever taken, in bytes. */
  peak(): number;
  /** Its connections. */
  connections(): number;
  /**
   * Holds it to what it promises: ordinary calls are answered rightly before, during and after the attack, and
   * nothing of the attack is left in the end.
   *
   * @param attack resolves when it is over. `goOn` waits for ordinary calls to go on meanwhile.
   */
  withstands(attack: (goOn: () => Promise<void>) => Promise<void>): Promise<void>;
  /** The same for what a stranger does, who has to have so many connections open then. */
  withstandsStranger(t: TestContext, attack: string, held?: number): Promise<void>;
}

export interface BesiegedOptions {
  /** Of the JavaScript heap: Node takes half of a small container's memory. */
  readonly heapMib?: number;
  readonly through?: readonly string[];
}

export async function besiege(
  stack: AsyncDisposableStack,
  { heapMib = 256, through = [] }: BesiegedOptions = {},
): Promise<Besieged> {
  const seeded = await startService();
  await seeded.stop();
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  const process = latchkey(stack, ["serve"], {
    through,
    env: {
      NODE_OPTIONS: `--max-old-space-size=${heapMib} --inspect=127.0.0.1:0`,
      DATABASE_URL: urlOf(seeded.connection),
      LATCHKEY_ENCRYPTION_KEY: seeded.encryptionKey.toString("base64"),
      LATCHKEY_PUBLIC_URL: "https://latchkey.test",
      LATCHKEY_HOST: "127.0.0.1",
      LATCHKEY_PORT: String(port),
      LATCHKEY_CALLERS: "any",
      LATCHKEY_LOG_LEVEL: "error",
    },
  });
  await until("the service is ready", async () => (await fetchPage(`${url}/readyz`)).status === 200);
  const inspector = await inspect(process.stderr);
  stack.defer(() => inspector.close());

  const asked: Asked = { url, apiKey: seeded.apiKey, organizationId: seeded.organizationId };
  const bytes = (name: "VmRSS" | "VmHWM") => {
    const status = readFileSync(`/proc/${process.pid}/status`, "utf8");
    return Number(new RegExp(`^${name}:\\s+(\\d+) kB`, "m").exec(status)?.[1]) * 1024;
  };
  const connections = () => connectionsAt(port);
  const state = async () => ({
    connections: connections(),
    heap: await inspector.liveHeap(),
    memory: bytes("VmRSS"),
  });

  const withstands: Besieged["withstands"] = async (attack) => {
    const before = await state();
    const logged = process.stdout.length;
    const calls = startOrdinaryCalls(asked);
    try {
      await calls.goOn();
      await attack(calls.goOn);
      await calls.goOn();
    } finally {
      assert.deepEqual(await calls.stop(), []);
    }
    assert.ok(process.isAlive, process.stderr);
    assert.deepEqual(await fetchPage(`${url}/livez`), { status: 200, body: "live\n" });
    let now = before;
    await until(
      "nothing is left of the attack",
      async () => {
        now = await state();
        return (
          now.connections <= before.connections &&
          now.heap <= before.heap + HEAP_LEFT &&
          now.memory <= before.memory + MEMORY_LEFT
        );
      },
      { within: LEFT_MILLIS },
    ).catch(({ message }: Error) => assert.fail(`${message}: ${JSON.stringify({ before, now })}`));
    // What a client does to its own connection is no fault of ours. That strangers' calls wait too long for the
    // database is none either.
    const logLines = process.stdout.slice(logged).trimEnd().split("\n");
    assert.deepEqual(
      logLines.filter((line) => line !== "" && !line.includes('"UNAVAILABLE"')),
      [],
    );
  };
  const besieged: Besieged = {
    ...asked,
    port,
    process,
    peak: () => bytes("VmHWM"),
    connections,
    withstands,
    withstandsStranger: (t, attack, held = 0) =>
      withstands(async (goOn) => {
        const stranger = attackBy(cleanup(t), port, attack);
        await stranger.said(/under way/);
        await until("the stranger holds its connections", () => connections() >= held);
        await goOn();
        assert.ok(connections() >= held);
        stranger.kill("SIGKILL");
      }),
  };
  // So that what it needs for ordinary calls is there already.
  await withstands(async () => {});
  return besieged;
}

/** A stranger's process. It says when the attack is under way. */
export function attackBy(
  stack: AsyncDisposableStack,
  port: number,
  attack: string,
  { enough, through = [] }: { readonly enough?: number; readonly through?: readonly string[] } = {},
): Running {
  const many = enough === undefined ? [] : [String(enough)];
  return run(stack, [process.execPath, "test/hostile/stranger.ts", String(port), attack, ...many], {
    through,
  });
}

/** proc_net_tcp: its columns, and its states. */
const LOCAL_ADDRESS = 1;
const STATE = 3;
const INODE = 9;
const LISTEN = "0A";
/** What the process has closed, and the system not yet. */
const OF_NOBODY = "0";

/** How many connections to a port are open on its side. Linux only. */
function connectionsAt(port: number): number {
  const local = `:${port.toString(16).toUpperCase().padStart(4, "0")}`;
  return readFileSync("/proc/net/tcp", "utf8")
    .split("\n")
    .map((line) => line.trim().split(/\s+/))
    .filter((row) => row[LOCAL_ADDRESS]?.endsWith(local))
    .filter((row) => row[STATE] !== LISTEN && row[INODE] !== OF_NOBODY).length;
}
