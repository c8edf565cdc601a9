import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { addEvent, type Sealing, sealingOf } from "../audit/sealing.ts";
import { query } from "../support/cluster.ts";
import { startService, type TestService } from "../support/service.ts";
import { field, linesOf, operatorOf } from "./operator.ts";

let service: TestService;
let sealing: Sealing;
before(async () => {
  service = await startService();
  sealing = await sealingOf(service);
  for (const action of ["test.change", "other.change", "test.change"]) {
    await addEvent(service.core.storage, service.organizationId, { action });
  }
  await addEvent(service.core.storage, undefined, { action: "platform.change" });
  await sealing.sealer().seal();
});
after(() => service?.stop());

test("latchkey audit lists events, of another record too, and refuses what is no time", async (t) => {
  const operator = operatorOf(t, service);
  const listed = await operator.lists([
    "audit",
    "list",
    "--action",
    "test.",
    "--since",
    "2026-01-31T00:00:00Z",
  ]);
  assert.deepEqual(
    listed.map(({ action, sequence }) => [action, sequence]),
    [
      ["test.change", "3"],
      ["test.change", "1"],
    ],
  );
  const shown = linesOf(await operator.does(["audit", "list", "--limit", "1"]));
  assert.match(shown[0] ?? "", /^TIME +ACTION +ACTOR +TARGET +FROM +WHAT$/);
  const platform = await operator.lists(["audit", "list", "--record", "platform", "--action", "platform."]);
  assert.deepEqual(
    platform.map(({ action }) => action),
    ["platform.change"],
  );
  assert.match(await operator.mistypes(["audit", "list", "--until", "yesterday"]), /Write a moment as /);
});

test("latchkey audit keeps checkpoints, verifies with one, and fails with the fault", async (t) => {
  const operator = operatorOf(t, service);
  const [{ jws, sequence }] = await operator.lists(["audit", "checkpoints", "--limit", "1"]);
  assert.equal(sequence, "3");
  const verified = await operator.does(["audit", "verify", "--checkpoint", "-"], { input: `${jws}\n` });
  assert.equal(field(verified, "verified events"), "3");
  await query(service.connection, "update audit_events set target_id = 'x' where action = 'other.change'");
  assert.match(
    await operator.fails(["audit", "verify"]),
    /the record does not hold: EVENT_ALTERED at 2 of event /,
  );
});
