import pLimit from "p-limit";
import type { ChangeFeed } from "../changes/change-feed.ts";
import {
  CHANGES,
  type ChangesRow,
  continues,
  EVERYTHING,
  isSameHistory,
  type Position,
  readChanges,
  snapshotText,
} from "../changes/feed-position.ts";
import type { Tag } from "../changes/mutate.ts";
import { RecentTags } from "../changes/recent-tags.ts";
import { isReached, type Revision, readRevision, writeRevision } from "../changes/revision.ts";
import type { Storage } from "../storage/open-storage.ts";

const MOST_CAUGHT_UP = 10_000;
const TAGS_A_MESSAGE = 1_000;
/** The feed proves itself each second, and a little earlier or later now and then. */
const HEARTBEAT_MILLIS = 900;
/**
 * How old the feed's newest proof may be at each message. A client goes by 5 seconds from when it has heard
 * something: what it is told late it trusts for longer.
 */
const FRESH_MILLIS = 2_500;

/** One message of a stream of revocations. */
export interface Revocations {
  /** Up to where all changes have been told: in this message, or before it. */
  readonly revision: string;
  readonly cacheTags: readonly string[];
  readonly resync: boolean;
}

/** What tells one client after the other of every change that an answer may depend on. */
export interface RevocationWatch {
  /**
   * The first message tells what has changed since a revision, or that this is not known. Later ones come at each
   * change, and each second without one, as long as this replica itself hears of all changes.
   *
   * @param revision up to where the client knows of all changes. Empty: of none.
   * @param isAdmitted rejects where the client may not know any more; asked at least once for each second in which
   * something is told.
   * @param signal ends it, which is no error.
   * @throws AuthError REVISION_INVALID, and what `isAdmitted` rejects with.
   */
  watch(
    revision: string,
    isAdmitted: () => Promise<void>,
    signal: AbortSignal,
  ): AsyncGenerator<Revocations, void, undefined>;
}

export function createRevocationWatch(parts: {
  readonly feed: ChangeFeed;
  readonly storage: Pick<Storage, "inBackground">;
  readonly cacheTag: (tag: Tag) => string;
}): RevocationWatch {
  const { feed, storage, cacheTag } = parts;
  const recent = new RecentTags();
  /** What wakes each open watch. */
  const watches = new Set<() => void>();
  feed.onHeard((heard) => {
    if (heard === EVERYTHING || watches.size === 0) {
      recent.skip();
    } else {
      recent.add(heard.map(cacheTag));
    }
    for (const wake of watches) {
      wake();
    }
  });
  feed.onProven(() => {
    for (const wake of watches) {
      wake();
    }
  });

  // However many come back at once, others go on working in the background.
  const inTurn = pLimit(1);
  /** What was changed since a revision; undefined: that is not known, or not any more. */
  const catchUp = async (asked: Revision): Promise<{ position: Position; tags: string[] } | undefined> => {
    // A mutation's revision says nothing of the changes before it.
    if ("xids" in asked || asked.epoch !== feed.epoch) {
      return undefined;
    }
    const begun = knownPosition(feed);
    const { snapshot, epoch } = asked;
    const values = [snapshotText(snapshot), MOST_CAUGHT_UP + 1];
    const row = await inTurn(() => storage.inBackground<ChangesRow>("changes since", CHANGES, values));
    const { position, tags } = readChanges(row);
    const isKnown = continues({ snapshot, epoch, isStandby: false, prunedXid: 0n }, position);
    // What the feed hears of later then follows on what is told here.
    const isAhead = isSameHistory(begun, position) && isReached(begun, position.snapshot);
    if (!isKnown || !isAhead || tags.length > MOST_CAUGHT_UP || tags.includes(EVERYTHING)) {
      return undefined;
    }
    return { position, tags: tags.map((tag) => cacheTag(tag as Tag)) };
  };

  return {
    async *watch(revision, isAdmitted, signal) {
      const asked = revision === "" ? undefined : readRevision(revision);
      let resume = () => {};
      let isWoken = false;
      const wake = () => {
        isWoken = true;
        resume();
      };
      const woken = async () => {
        if (!isWoken && !signal.aborted) {
          await new Promise<void>((resolve) => {
            resume = resolve;
          });
        }
        isWoken = false;
      };
      // A reader that is gone may never ask for the next message: it is the signal that surely forgets the watch.
      const leave = () => {
        watches.delete(wake);
        wake();
      };
      watches.add(wake);
      signal.addEventListener("abort", leave, { once: true });
      let admittedAt = Number.NEGATIVE_INFINITY;
      const admit = async () => {
        if (performance.now() - admittedAt >= HEARTBEAT_MILLIS) {
          admittedAt = performance.now();
          await isAdmitted();
        }
      };

      try {
        while (!isFresh(feed) && !signal.aborted) {
          await woken();
        }
        if (signal.aborted) {
          return;
        }
        let read = recent.end;
        const caughtUp = asked && (await catchUp(asked));
        let told = caughtUp?.position ?? knownPosition(feed);
        let toldAt = performance.now();
        await admit();
        yield* messages(revision, writeRevision(told), caughtUp?.tags ?? [], caughtUp === undefined);

        while (!signal.aborted) {
          await woken();
          const tags = recent.since(read);
          const isProven = feed.provenAt > toldAt && performance.now() - toldAt >= HEARTBEAT_MILLIS;
          if (signal.aborted || !isFresh(feed) || (tags?.length === 0 && !isProven)) {
            continue;
          }
          await admit();
          if (!isFresh(feed)) {
            // The next proof comes back to it.
            continue;
          }
          // All that the feed has taken into account has been heard: it is read here, or was before.
          const position = knownPosition(feed);
          const heard = recent.since(read);
          read = recent.end;
          const before = writeRevision(told);
          // It never goes back: a client that asked another replica for less might keep what it was told to forget.
          const isFurther =
            heard === undefined || !isSameHistory(told, position) || isReached(told, position.snapshot);
          told = isFurther ? position : told;
          toldAt = performance.now();
          yield* messages(before, writeRevision(told), heard ?? [], heard === undefined);
        }
      } finally {
        signal.removeEventListener("abort", leave);
        leave();
      }
    },
  };
}

function isFresh(feed: ChangeFeed): boolean {
  return performance.now() - feed.provenAt < FRESH_MILLIS;
}

function knownPosition({ position }: ChangeFeed): Position {
  if (position === undefined) {
    throw new Error("a feed that is fresh has a position");
  }
  return position;
}

/** @param before what all but the last of the messages may claim. */
function* messages(
  before: string,
  revision: string,
  tags: readonly string[],
  resync: boolean,
): Generator<Revocations, void, undefined> {
  let at = 0;
  for (; tags.length - at > TAGS_A_MESSAGE; at += TAGS_A_MESSAGE) {
    yield { revision: before, cacheTags: tags.slice(at, at + TAGS_A_MESSAGE), resync: false };
  }
  yield { revision, cacheTags: tags.slice(at), resync };
}
