/**
 * Which transactions count as committed: those before `xmin`, and of those before `xmax` all but `xip`, which were
 * in progress. As PostgreSQL's `pg_snapshot` ("Transaction ID and Snapshot Information Functions").
 */
export interface Snapshot {
  readonly xmin: bigint;
  readonly xmax: bigint;
  /** Ascending. */
  readonly xip: readonly bigint[];
}

/**
 * Reads what PostgreSQL writes: `xmin:xmax:xip,xip,…`.
 *
 * @throws Error where it is no snapshot.
 */
export function parseSnapshot(text: string): Snapshot {
  const [, xmin = "", xmax = "", list = ""] = /^(\d+):(\d+):([\d,]*)$/.exec(text) ?? [];
  const xip = list === "" ? [] : list.split(",").map(BigInt);
  const snapshot = { xmin: BigInt(xmin), xmax: BigInt(xmax), xip };
  if (xmin === "" || !isWhole(snapshot)) {
    throw new Error("the database has told no snapshot");
  }
  return snapshot;
}

/** Whether its parts agree with each other. */
export function isWhole({ xmin, xmax, xip }: Snapshot): boolean {
  return (
    xmin <= xmax &&
    xip.every((xid, at) => xid < xmax && (at === 0 ? xid >= xmin : xid > (xip[at - 1] as bigint)))
  );
}

/** Whether what a transaction did is seen. */
export function isVisible(xid: bigint, { xmin, xmax, xip }: Snapshot): boolean {
  return xid < xmin || (xid < xmax && !xip.includes(xid));
}

/** Whether all that is seen in one snapshot is seen in the other too. */
export function covers(now: Snapshot, then: Snapshot): boolean {
  // What the later one does not see is what was in progress, and whatever began after it.
  const beyond = then.xmax - now.xmax;
  if (beyond > BigInt(then.xip.length)) {
    return false;
  }
  for (let xid = now.xmax; xid < then.xmax; xid++) {
    if (isVisible(xid, then)) {
      return false;
    }
  }
  return now.xip.every((xid) => !isVisible(xid, then));
}
