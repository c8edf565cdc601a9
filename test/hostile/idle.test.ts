import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, describe, test } from "node:test";
import { defaultOnePortLimits } from "../../src/server/port-limits.ts";
import { cleanup } from "../support/process.ts";
import { until } from "../support/until.ts";
import { attackBy, type Besieged, besiege } from "./besieged.ts";
import { IDLE } from "./holds.ts";

const MOST = defaultOnePortLimits.maxConnections;
/** Besides connections: files, the database, those of ordinary calls. */
const OTHER_FILES = 500;
/** Where the system lets us: as many files as that. */
const MANY_FILES = ["sh", "-c", `ulimit -n ${MOST + OTHER_FILES} 2>/dev/null; exec "$@"`, "sh"];

describe("the service withstands", () => {
  const stack = new AsyncDisposableStack();
  let service: Besieged;
  before(async () => {
    service = await besiege(stack, { through: MANY_FILES });
  });
  after(() => stack.disposeAsync());

  test("as many idle connections as it takes", async (t) => {
    const limits = readFileSync(`/proc/${service.process.pid}/limits`, "utf8");
    const files = Number(/^Max open files\s+(\d+)/m.exec(limits)?.[1]);
    const many = Math.min(MOST, files - OTHER_FILES);
    if (many < MOST) {
      t.diagnostic(`NOT TESTED with ${MOST} connections but with ${many}: \`ulimit -n\` is ${files}`);
    }
    await service.withstands(async (goOn) => {
      const stranger = attackBy(cleanup(t), service.port, IDLE, { enough: many, through: MANY_FILES });
      await stranger.said(/under way/);
      // Ordinary calls take the places of a few.
      await until("they are there", () => service.connections() > many - OTHER_FILES);
      await goOn();
      assert.ok(service.connections() > many - OTHER_FILES);
      stranger.kill("SIGKILL");
    });
  });
});
