import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { isReached, type Revision, readRevision, writeRevision } from "../../src/changes/revision.ts";
import { covers, isVisible, isWhole, parseSnapshot, type Snapshot } from "../../src/changes/snapshot.ts";
import { AuthError } from "../../src/errors.ts";

const MOST = 24;
const EPOCH = "0123456789abcdef";

/** Of few transactions, so that two of them have much to do with each other. */
const snapshots: fc.Arbitrary<Snapshot> = fc
  .record({
    xmin: fc.bigInt({ min: 3n, max: BigInt(MOST) }),
    width: fc.bigInt({ min: 0n, max: 8n }),
    inProgress: fc.array(fc.boolean(), { minLength: 8, maxLength: 8 }),
  })
  .map(({ xmin, width, inProgress }) => {
    const xids = Array.from({ length: Number(width) }, (_, at) => xmin + BigInt(at));
    return { xmin, xmax: xmin + width, xip: xids.filter((_, at) => inProgress[at]) };
  });

const EVERY_XID = Array.from({ length: MOST + 12 }, (_, at) => BigInt(at));
const seen = (snapshot: Snapshot) => EVERY_XID.filter((xid) => isVisible(xid, snapshot));

test("a snapshot covers another exactly where it sees all that the other one sees", () => {
  fc.assert(
    fc.property(snapshots, snapshots, (one, other) => {
      const missing = seen(other).filter((xid) => !seen(one).includes(xid));
      assert.equal(covers(one, other), missing.length === 0);
    }),
    { numRuns: 2_000 },
  );
});

test("a transaction is seen exactly where PostgreSQL's own rules say so", () => {
  const snapshot = parseSnapshot("10:20:10,14,15");
  const rules = {
    9: true,
    10: false,
    11: true,
    14: false,
    15: false,
    16: true,
    19: true,
    20: false,
    21: false,
  };
  for (const [xid, isSeen] of Object.entries(rules)) {
    assert.equal(isVisible(BigInt(xid), snapshot), isSeen, xid);
  }
  for (const wrong of ["", "1:2", "5:4:", "1:5:7", "3:9:2", "3:9:5,4", "a:b:c"]) {
    assert.throws(() => parseSnapshot(wrong), wrong);
  }
});

test("what is far beyond costs nothing to refuse", () => {
  const far = { xmin: 1n, xmax: 2n ** 62n, xip: [] };
  assert.equal(covers({ xmin: 1n, xmax: 5n, xip: [] }, far), false);
});

const revisions: fc.Arbitrary<Revision> = fc.oneof(
  snapshots.map((snapshot) => ({ epoch: EPOCH, snapshot })),
  fc
    .array(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), { minLength: 1, maxLength: 5 })
    .map((xids) => ({ epoch: EPOCH, xids })),
);

test("a revision is read as it was written", () => {
  fc.assert(
    fc.property(revisions, (revision) => assert.deepEqual(readRevision(writeRevision(revision)), revision)),
  );
});

test("a text that no replica has written is refused, whatever it is", () => {
  const refuses = (text: string) =>
    assert.throws(
      () => readRevision(text),
      (error) => error instanceof AuthError && error.reason === "REVISION_INVALID",
      text,
    );
  for (const text of ["", "x", "AAAA", "not a revision", "é", "A".repeat(4096), "A".repeat(5000)]) {
    refuses(text);
  }
  fc.assert(
    fc.property(revisions, fc.nat(), fc.string({ minLength: 1, maxLength: 1 }), (revision, at, letter) => {
      const text = writeRevision(revision);
      const changed = `${text.slice(0, at % text.length)}${letter}${text.slice((at % text.length) + 1)}`;
      try {
        // Read as another one, it is that one and no other way of writing this one.
        assert.equal(writeRevision(readRevision(changed)), changed);
      } catch (error) {
        assert.ok(error instanceof AuthError && error.reason === "REVISION_INVALID", String(error));
      }
      refuses(`${text}=`);
    }),
  );
});

test("with thousands of transactions in progress a revision stays short, and claims less rather than more", () => {
  const xip = Array.from({ length: 6_000 }, (_, at) => 1_000_000n + 1_000n * BigInt(at));
  const snapshot = { xmin: 1_000_000n, xmax: 9_000_000n, xip };
  assert.ok(isWhole(snapshot));
  const text = writeRevision({ epoch: EPOCH, snapshot });
  assert.ok(text.length <= 4096);
  const revision = readRevision(text);
  assert.ok("snapshot" in revision && isReached(revision, snapshot));
  assert.ok(revision.snapshot.xmax > snapshot.xmin);
});

test("a mutation is reached where its transactions are seen", () => {
  const snapshot = parseSnapshot("10:20:14");
  const isSeen = (...xids: bigint[]) => isReached({ epoch: EPOCH, xids }, snapshot);
  assert.deepEqual(
    [isSeen(9n), isSeen(12n, 19n), isSeen(14n), isSeen(9n, 14n), isSeen(20n)],
    [true, true, false, false, false],
  );
});
