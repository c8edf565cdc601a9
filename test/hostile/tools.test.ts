// Programs that are made to bring services down.
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, type TestContext, test } from "node:test";
import { stripVTControlCharacters } from "node:util";
import { cleanup, findProgram, type Running, run, temporaryFolder } from "../support/process.ts";
import { type Besieged, besiege } from "./besieged.ts";

const METHOD = "/latchkey.v1.AuthenticationService/Authenticate";
const CALLS = 2000;
/** 200 connections, all at once, with a little each second for 3 seconds; a page may take 20. */
const SLOW = ["-c", "200", "-r", "200", "-i", "1", "-l", "3", "-p", "20"];

describe("the service withstands", () => {
  const stack = new AsyncDisposableStack();
  let service: Besieged;
  before(async () => {
    service = await besiege(stack);
  });
  after(() => stack.disposeAsync());

  /** Undefined, and the test skipped loudly, where there is no such program. */
  function start(t: TestContext, name: string, ...args: string[]): Running | undefined {
    const program = findProgram(name);
    if (program === undefined) {
      t.skip(`NOT TESTED: ${name} is not installed`);
      return undefined;
    }
    return run(cleanup(t), [program, ...args]);
  }

  test("h2load with many calls at once, each of which it answers", async (t) => {
    const question = join(temporaryFolder(cleanup(t)), "question.json");
    writeFileSync(question, JSON.stringify({ headers: [{ name: "X-API-Key", value: service.apiKey }] }));
    await service.withstands(async (goOn) => {
      const h2load = start(
        t,
        "h2load",
        ...["-n", String(CALLS), "-c", "4", "-m", "50", "-d", question],
        ...["-H", "content-type: application/json"],
        service.url + METHOD,
      );
      if (h2load !== undefined) {
        await goOn();
        assert.deepEqual(await h2load.ended(), { code: 0, signal: null });
        assert.match(h2load.stdout, new RegExp(`status codes: ${CALLS} 2xx, 0 3xx, 0 4xx, 0 5xx`));
      }
    });
  });

  test("slowhttptest with slow headers, slow bodies and slow reading at once", async (t) => {
    await service.withstands(async (goOn) => {
      const modes = [
        ["-H", "-u", `${service.url}/livez`],
        ["-B", "-u", service.url + METHOD, "-f", "application/json"],
        ["-X", "-u", `${service.url}/.well-known/jwks.json`, "-k", "10", "-w", "8", "-y", "16", "-z", "4"],
      ];
      const attacks = modes.map((mode) => start(t, "slowhttptest", ...SLOW, ...mode));
      await goOn();
      for (const attack of attacks) {
        await attack?.ended();
        const said = stripVTControlCharacters(attack?.stdout ?? "");
        assert.equal(/service available:\s*YES/.test(said), attack !== undefined, said);
        assert.doesNotMatch(said, /service available:\s*NO/);
      }
    });
  });
});
