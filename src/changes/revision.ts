import { AuthError } from "../errors.ts";
import { covers, isVisible, isWhole, type Snapshot } from "./snapshot.ts";

const MOST_CHARACTERS = 4096;
const EPOCH_BYTES = 8;
const XIDS = 1;
const SNAPSHOT = 2;
const MOST_XID = 2n ** 64n - 1n;

/** Up to where somebody knows of changes: some transactions, or all that a snapshot sees. */
export type Revision = {
  /** Which history of which database the transactions are of: 16 hexadecimal digits. */
  readonly epoch: string;
} & ({ readonly xids: readonly bigint[] } | { readonly snapshot: Snapshot });

/** Writes a revision as the opaque text that callers see, of at most 4096 characters. */
export function writeRevision(revision: Revision): string {
  if ("xids" in revision) {
    return textOf(revision.epoch, XIDS, [...revision.xids]);
  }
  let { snapshot } = revision;
  for (;;) {
    const { xmin, xmax, xip } = snapshot;
    const steps = xip.map((xid, at) => xid - (at === 0 ? xmin : (xip[at - 1] as bigint)));
    const text = textOf(revision.epoch, SNAPSHOT, [xmin, xmax - xmin, ...steps]);
    if (text.length <= MOST_CHARACTERS) {
      return text;
    }
    // With thousands of transactions in progress, it claims less: nothing from the first one on that it leaves out.
    const kept = Math.floor(xip.length / 2);
    snapshot = { xmin, xmax: xip[kept] as bigint, xip: xip.slice(0, kept) };
  }
}

/** @throws AuthError REVISION_INVALID */
export function readRevision(text: string): Revision {
  const revision = text.length <= MOST_CHARACTERS ? parse(Buffer.from(text, "base64url")) : undefined;
  // One text for one revision: what was changed on its way is refused.
  if (revision === undefined || writeRevision(revision) !== text) {
    throw new AuthError("REVISION_INVALID");
  }
  return revision;
}

/** Whether whoever has heard of all that a snapshot sees has heard of what a revision tells. */
export function isReached(revision: Revision, snapshot: Snapshot): boolean {
  return "xids" in revision
    ? revision.xids.every((xid) => isVisible(xid, snapshot))
    : covers(snapshot, revision.snapshot);
}

function textOf(epoch: string, kind: number, values: readonly bigint[]): string {
  const bytes = [kind, ...Buffer.from(epoch, "hex")];
  for (let rest of values) {
    // As Protocol Buffers write their varints.
    for (; rest > 127n; rest >>= 7n) {
      bytes.push(Number(rest & 127n) | 128);
    }
    bytes.push(Number(rest));
  }
  return Buffer.from(bytes).toString("base64url");
}

function parse(bytes: Buffer): Revision | undefined {
  const epoch = bytes.toString("hex", 1, 1 + EPOCH_BYTES);
  const values = readValues(bytes.subarray(1 + EPOCH_BYTES));
  if (epoch.length !== 2 * EPOCH_BYTES || values === undefined || values.length === 0) {
    return undefined;
  }
  if (bytes[0] === XIDS) {
    return { epoch, xids: values };
  }
  const [xmin = 0n, width, ...steps] = values;
  if (bytes[0] !== SNAPSHOT || width === undefined) {
    return undefined;
  }
  let xid = xmin;
  const xip = steps.map((step) => {
    xid += step;
    return xid;
  });
  const snapshot = { xmin, xmax: xmin + width, xip };
  return snapshot.xmax <= MOST_XID && isWhole(snapshot) ? { epoch, snapshot } : undefined;
}

function readValues(bytes: Uint8Array): bigint[] | undefined {
  const values: bigint[] = [];
  let value = 0n;
  let shift = 0n;
  for (const byte of bytes) {
    value |= BigInt(byte & 127) << shift;
    shift += 7n;
    if (value > MOST_XID || shift > 70n) {
      return undefined;
    }
    if (byte < 128) {
      values.push(value);
      value = 0n;
      shift = 0n;
    }
  }
  return shift === 0n ? values : undefined;
}
