import assert from "node:assert/strict";
import { test } from "node:test";
import { type ChangesRow, continues, isSameHistory, readChanges } from "../../src/changes/feed-position.ts";

const ROW: ChangesRow = {
  snapshot: "100:110:100,104",
  is_standby: false,
  system: "7300000000000000001",
  timeline: "00000001",
  database: "16384",
  pruned_xid: "90",
  millis: 1_000,
  tags: [],
};
const at = (row: Partial<ChangesRow> = {}) => readChanges({ ...ROW, ...row }).position;

test("nothing is missed between two looks at one database", () => {
  assert.equal(continues(at(), at()), true);
  assert.equal(continues(at(), at({ snapshot: "105:120:105" })), true);
  // All that is gone was heard of: it was before whatever was in progress then.
  assert.equal(continues(at(), at({ snapshot: "105:120:105", pruned_xid: "99" })), true);
});

const BREAKS: Readonly<Record<string, Partial<ChangesRow>>> = {
  "another server": { system: "7300000000000000002" },
  "a standby that has become the primary": { timeline: "00000002" },
  "another database of the server": { database: "16385" },
  "a standby": { is_standby: true, timeline: "" },
  "a database that was set back": { snapshot: "99:109:" },
};
for (const [what, row] of Object.entries(BREAKS)) {
  test(`it does not go on with ${what}: anything may have been missed`, () => {
    assert.equal(isSameHistory(at(), at(row)), false);
    assert.equal(continues(at(), at(row)), false);
  });
}

test("it does not go on where changes were pruned that it had not heard of", () => {
  assert.equal(continues(at(), at({ snapshot: "120:120:", pruned_xid: "100" })), false);
  assert.equal(isSameHistory(at(), at({ snapshot: "120:120:", pruned_xid: "100" })), true);
});

test("what is no answer of the statement is a fault", () => {
  assert.throws(() => readChanges(undefined));
  assert.throws(() => at({ snapshot: "" }));
});
