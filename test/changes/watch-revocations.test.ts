import assert from "node:assert/strict";
import { afterEach, before, beforeEach, test } from "node:test";
import { createCacheTags } from "../../src/authenticate/cache-tags.ts";
import { createRevocationWatch, type Revocations } from "../../src/authenticate/watch-revocations.ts";
import { snapshotText } from "../../src/changes/feed-position.ts";
import { type Event, mutate, type Tag } from "../../src/changes/mutate.ts";
import { isReached, readRevision, writeRevision } from "../../src/changes/revision.ts";
import { AuthError } from "../../src/errors.ts";
import { type DatabaseConnection, parseDatabaseUrl } from "../../src/storage/database-connection.ts";
import { startProxy } from "../cli/database-proxy.ts";
import { createDatabase, query } from "../support/cluster.ts";
import { until } from "../support/until.ts";
import { asked, change, type Listening, openClient, startListening } from "./listening.ts";

const AUTHOR = { type: "operator", id: "test" } as const;
const EVENT: Event = { action: "test.change", targetId: "test", detail: {} };

let connection: DatabaseConnection;
let stack: AsyncDisposableStack;
before(async () => {
  connection = await createDatabase();
});
beforeEach(() => {
  stack = new AsyncDisposableStack();
});
afterEach(() => stack.disposeAsync());

const cacheTag = (tag: string) => tag as Tag;

/** A client that reads messages one by one. */
function watching({ feed, storage }: Listening, revision = "", isAdmitted = async () => {}) {
  const ending = new AbortController();
  const messages = createRevocationWatch({ feed, storage, cacheTag: (tag) => tag }).watch(
    revision,
    isAdmitted,
    ending.signal,
  );
  stack.defer(() => ending.abort());
  const next = async (): Promise<Revocations> => {
    const { value, done } = await messages.next();
    assert.ok(done !== true, "the stream has ended");
    return value;
  };
  return {
    next,
    /** The next message that says more than that nothing has changed. */
    async news() {
      let message = await next();
      while (message.cacheTags.length === 0 && !message.resync) {
        message = await next();
      }
      return message;
    },
    end: () => ending.abort(),
    messages,
  };
}

const changed = ({ storage }: Listening, ...tags: Tag[]) =>
  mutate(storage, AUTHOR, async () => ({ result: undefined, event: EVENT, tags }));

test("the first message comes at once: whoever knows nothing forgets everything, and goes on from there", async () => {
  const listening = await startListening(stack, connection);
  const first = await watching(listening).next();
  assert.deepEqual(first, { revision: listening.feed.revision, cacheTags: [], resync: true });
});

test("a change is told at once, one's own and another replica's", async () => {
  const here = await startListening(stack, connection);
  const there = await startListening(stack, connection);
  const watches = [watching(here), watching(there)];
  for (const { next } of watches) {
    await next();
  }
  await changed(here, "key:own");
  for (const { news } of watches) {
    assert.deepEqual((await news()).cacheTags, ["key:own"]);
  }
});

test("no message claims more than has been told, however transactions overlap", async () => {
  const listening = await startListening(stack, connection);
  const watch = watching(listening);
  const { revision: start } = await watch.next();
  const clients = await Promise.all(Array.from({ length: 4 }, () => openClient(stack, connection)));
  const told = new Set<string>();
  let newest = start;
  const claims = async ({ revision, cacheTags, resync }: Revocations) => {
    assert.equal(resync, false);
    for (const tag of cacheTags) {
      told.add(tag);
    }
    const [from, to] = [readRevision(start), readRevision(revision)];
    assert.ok("snapshot" in from && "snapshot" in to && isReached(readRevision(newest), to.snapshot));
    newest = revision;
    const claimed = await query<{ tag: string }>(
      connection,
      `select distinct unnest(tags) as tag from changes
      where pg_visible_in_snapshot(xid, $2) and not pg_visible_in_snapshot(xid, $1)`,
      [snapshotText(from.snapshot), snapshotText(to.snapshot)],
    );
    assert.deepEqual(
      claimed.map(({ tag }) => tag).filter((tag) => !told.has(tag)),
      [],
    );
  };

  for (let round = 0; round < 8; round++) {
    for (const [at, client] of clients.entries()) {
      // Each begins in a round of its own and ends three rounds later, while others have begun and ended.
      if (round % 4 === at) {
        await client.query(round < 4 ? "begin" : "commit");
        if (round < 4) {
          await client.query("insert into changes (tags) values ($1)", [[`key:${at}`]]);
        }
      }
    }
    await changed(listening, `user:${round}`);
    await claims(await watch.news());
  }
  while (["key:0", "key:1", "key:2", "key:3", "user:7"].some((tag) => !told.has(tag)) || !(await isWhole())) {
    await claims(await watch.next());
  }

  /** Whether the newest revision tells of all that there is. */
  async function isWhole() {
    const revision = readRevision(newest);
    assert.ok("snapshot" in revision);
    const sql = "select from changes where not pg_visible_in_snapshot(xid, $1)";
    return (await query(connection, sql, [snapshotText(revision.snapshot)])).length === 0;
  }
});

test("whoever comes back is told what has changed meanwhile, by any replica", async () => {
  const here = await startListening(stack, connection);
  const there = await startListening(stack, connection);
  const watch = watching(here);
  const { revision } = await watch.next();
  watch.end();
  await change(connection, "key:meanwhile", "user:meanwhile");
  const back = watching(there, revision);
  const { cacheTags, resync, revision: after } = await back.next();
  assert.deepEqual([cacheTags.toSorted(), resync], [["key:meanwhile", "user:meanwhile"], false]);
  assert.deepEqual((await watching(here, after).next()).cacheTags, []);
});

test("more tags than one message holds come in several, and only the last one claims that all are told", async () => {
  const listening = await startListening(stack, connection);
  const { revision } = await watching(listening).next();
  const tags = Array.from({ length: 2_500 }, (_, at) => `key:${at}`);
  await change(connection, ...tags);
  const back = watching(listening, revision);
  const messages = [await back.next(), await back.next(), await back.next()];
  assert.deepEqual(messages.flatMap(({ cacheTags }) => cacheTags).toSorted(), tags.toSorted());
  assert.deepEqual(
    messages.map(({ cacheTags, revision: claimed }) => [cacheTags.length, claimed === revision]),
    [
      [1000, true],
      [1000, true],
      [500, false],
    ],
  );
});

const UNKNOWN: Readonly<Record<string, (revision: string) => Promise<string> | string>> = {
  "of another deployment": (revision) =>
    writeRevision({ ...readRevision(revision), epoch: "0123456789abcdef" }),
  "of a mutation": (revision) => writeRevision({ epoch: readRevision(revision).epoch, xids: [3n] }),
  "since which too much has changed": async (revision) => {
    await change(connection, ...Array.from({ length: 10_001 }, (_, at) => `key:many ${at}`));
    return revision;
  },
  "since which everything has changed": async (revision) => {
    await change(connection, "everything");
    return revision;
  },
  "of a time whose changes are gone": async (revision) => {
    await query(connection, "update change_horizon set pruned_xid = pg_current_xact_id()");
    return revision;
  },
};
for (const [what, make] of Object.entries(UNKNOWN)) {
  test(`with a revision ${what} everything is to be forgotten`, async () => {
    const listening = await startListening(stack, connection);
    await asked(listening, connection);
    const revision = await make(listening.feed.revision);
    const { resync, cacheTags } = await watching(listening, revision).next();
    assert.deepEqual([resync, cacheTags], [true, []]);
  });
}

test("a revision that nobody has written is refused", async () => {
  const listening = await startListening(stack, connection);
  await assert.rejects(
    watching(listening, "nonsense").next(),
    (error) => error instanceof AuthError && error.reason === "REVISION_INVALID",
  );
});

test("where everything counts as changed, everything is to be forgotten", async () => {
  const listening = await startListening(stack, connection);
  const watch = watching(listening);
  await watch.next();
  await change(connection, "everything");
  await asked(listening, connection);
  assert.deepEqual((await watch.news()).resync, true);
});

test("whoever reads too slowly forgets everything, rather than being kept a list without end", async () => {
  const listening = await startListening(stack, connection);
  const watch = watching(listening);
  await watch.next();
  for (let at = 0; at < 3; at++) {
    await change(connection, ...Array.from({ length: 4_000 }, (_, tag) => `key:${at} ${tag}`));
    await asked(listening, connection);
  }
  assert.deepEqual((await watch.next()).resync, true);
  await changed(listening, "key:later");
  assert.deepEqual((await watch.news()).cacheTags, ["key:later"]);
});

test("that nothing has changed is said each second, and only while the replica itself hears of changes", async () => {
  const proxy = await startProxy(stack, connection);
  const listening = await startListening(stack, { ...parseDatabaseUrl(proxy.url), password: proxy.password });
  const { feed, logged } = listening;
  const watch = watching(listening);
  const first = await watch.next();
  const begun = performance.now();
  const { cacheTags, resync, revision } = await watch.next();
  assert.deepEqual([cacheTags, resync], [[], false]);
  // It may be further on: other databases of the same server have transactions too.
  const told = readRevision(revision);
  assert.ok("snapshot" in told && isReached(readRevision(first.revision), told.snapshot));
  assert.ok(performance.now() - begun < 2_500);
  proxy.freeze();
  const frozenAt = performance.now();
  const message = watch.next();
  let heardAt: number | undefined;
  void message.then(() => {
    heardAt = performance.now();
  });
  await until("the feed is stale", () => logged.some((line) => line.includes("changes are not heard of")));
  // One that was on its way may have come, and was proved before.
  assert.ok(heardAt === undefined || heardAt - frozenAt < 1_000);
  const next = heardAt === undefined ? message : watch.next();
  proxy.thaw();
  assert.equal((await next).resync, true);
  assert.ok(performance.now() - feed.provenAt < 2_500);
});

test("whoever may not know any more is told nothing more", async () => {
  const listening = await startListening(stack, connection);
  let isRevoked = false;
  const watch = watching(listening, "", async () => {
    if (isRevoked) {
      throw new AuthError("CALLER_REJECTED");
    }
  });
  await watch.next();
  isRevoked = true;
  await assert.rejects(
    async () => {
      for (;;) {
        await watch.next();
      }
    },
    (error) => error instanceof AuthError && error.reason === "CALLER_REJECTED",
  );
});

test("a watch that is ended ends, without an error", async () => {
  const watch = watching(await startListening(stack, connection));
  await watch.next();
  const pending = watch.messages.next();
  watch.end();
  assert.equal((await pending).done, true);
});

test("tags are shown as 12 characters that tell nothing, the same from whoever has the key", () => {
  const [one, same, other] = [1, 1, 2].map((key) => createCacheTags(Buffer.alloc(32, key)));
  const tags = Array.from({ length: 50_000 }, (_, at) => cacheTag(`key:${at}`));
  const shown = tags.map((tag) => one?.(tag) ?? "");
  assert.equal(new Set(shown).size, tags.length);
  assert.ok(shown.every((text) => /^[A-Za-z0-9_-]{12}$/.test(text)));
  for (const at of [0, 1, 25_000, 49_999]) {
    assert.equal(one?.(cacheTag(`key:${at}`)), shown[at]);
    assert.equal(same?.(cacheTag(`key:${at}`)), shown[at]);
    assert.notEqual(other?.(cacheTag(`key:${at}`)), shown[at]);
  }
});
