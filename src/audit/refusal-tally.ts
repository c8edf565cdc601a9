import type { RefusedSubject } from "../errors.ts";

/** A call that was refused. */
export interface Refusal extends RefusedSubject {
  /** What the record calls it. */
  readonly action: string;
  /** Such as `latchkey.v1.TokenService/IssueToken`. */
  readonly method: string;
  readonly reason: string;
  /** Who asked about the credential that was refused, by their id. */
  readonly callerId?: string | undefined;
  /** Of the socket's other end. */
  readonly peerAddress: string;
  readonly requestId: string;
}

/** Refusals that are alike, since they were last written down. */
export interface RefusalGroup {
  /** Undefined: the platform's. */
  readonly organizationId: string | undefined;
  /** Empty, as the reason: of all kinds, where there were too many to tell them apart. */
  readonly action: string;
  readonly method: string;
  readonly reason: string;
  readonly principal: RefusedSubject["principal"];
  readonly credentialId: string | undefined;
  readonly callerId: string | undefined;
  count: number;
  /** In milliseconds since the epoch. */
  firstMillis: number;
  lastMillis: number;
  /** The first of them. */
  readonly samples: { readonly millis: number; readonly requestId: string }[];
  readonly addresses: Set<string>;
  /** Whether they came from more addresses than that. */
  moreAddresses: boolean;
}

const MOST_SAMPLES = 3;
const MOST_ADDRESSES = 5;
/** How many groups there may be of one kind, of one organization, and of all. */
const MOST_ALIKE = 32;
const MOST_OF_ONE = 256;
const MOST = 2_048;
/** How long a group waits once it was written down. What a stranger can bring about fills no disk. */
const AGAIN_MILLIS = 60_000;

interface Held {
  readonly kind: string;
  readonly organization: string;
  group: RefusalGroup | undefined;
  /** When it may be written down. */
  dueMillis: number;
}

/**
 * Counts refusals in memory, so that there are few groups of them however many there are. Whom nobody knows is
 * counted with all others who are unknown; and where too many who are known are refused, they are too.
 */
export class RefusalTally {
  readonly #held = new Map<string, Held>();
  /** How many groups there are of each kind, and of each organization. */
  readonly #sizes = new Map<string, number>();

  get size(): number {
    return this.#held.size;
  }

  add(refusal: Refusal, now: number): void {
    const { organizationId, action, method, reason, principal, credentialId, callerId } = refusal;
    const organization = organizationId ?? "";
    const kind = [organization, action, method, reason].join(" ");
    const like = { organizationId, action, method, reason };
    const unknown = { principal: undefined, credentialId: undefined, callerId: undefined };
    const isKnown = principal !== undefined || callerId !== undefined;
    const one = [kind, principal?.type, principal?.id, credentialId, callerId].join(" ");
    const other = { action: "", method: "", reason: "" };
    const place =
      (isKnown
        ? this.#place(one, kind, organization, MOST_ALIKE, { ...like, principal, credentialId, callerId })
        : undefined) ??
      this.#place(kind, "", organization, MOST, { ...like, ...unknown }) ??
      this.#place(organization, "", "", MOST, { organizationId, ...other, ...unknown }) ??
      this.#place("", "", "", Infinity, { organizationId: undefined, ...other, ...unknown });
    if (place !== undefined) {
      count(place, refusal, now);
    }
  }

  /** Takes out what may be written down: what is new, and what has waited. */
  take(now: number, everything = false): RefusalGroup[] {
    const taken: RefusalGroup[] = [];
    for (const [name, held] of this.#held) {
      // Where the clock was set back, nothing waits for it to catch up.
      const waits = held.dueMillis > now && held.dueMillis <= now + AGAIN_MILLIS;
      if (!everything && waits) {
        continue;
      }
      if (held.group === undefined) {
        this.#held.delete(name);
        this.#grow(held, -1);
        continue;
      }
      taken.push(held.group);
      held.group = undefined;
      held.dueMillis = now + AGAIN_MILLIS;
    }
    return taken;
  }

  /** The group of a name, or a new one where there is room. */
  #place(
    name: string,
    kind: string,
    organization: string,
    mostAlike: number,
    of: Omit<
      RefusalGroup,
      "count" | "firstMillis" | "lastMillis" | "samples" | "addresses" | "moreAddresses"
    >,
  ): RefusalGroup | undefined {
    let held = this.#held.get(name);
    if (held === undefined) {
      const isFull =
        mostAlike !== Infinity &&
        (this.#held.size >= MOST ||
          this.#sizeOf(`kind ${kind}`) >= mostAlike ||
          this.#sizeOf(`organization ${organization}`) >= MOST_OF_ONE);
      if (isFull) {
        return undefined;
      }
      held = { kind, organization, group: undefined, dueMillis: 0 };
      this.#held.set(name, held);
      this.#grow(held, 1);
    }
    held.group ??= {
      ...of,
      count: 0,
      firstMillis: 0,
      lastMillis: 0,
      samples: [],
      addresses: new Set(),
      moreAddresses: false,
    };
    return held.group;
  }

  #sizeOf(name: string): number {
    return this.#sizes.get(name) ?? 0;
  }

  #grow({ kind, organization }: Held, by: number): void {
    for (const name of [`kind ${kind}`, `organization ${organization}`]) {
      const size = this.#sizeOf(name) + by;
      if (size === 0) {
        this.#sizes.delete(name);
      } else {
        this.#sizes.set(name, size);
      }
    }
  }
}

function count(group: RefusalGroup, refusal: Refusal, now: number): void {
  group.firstMillis = group.count === 0 ? now : group.firstMillis;
  group.lastMillis = now;
  group.count++;
  if (group.samples.length < MOST_SAMPLES) {
    group.samples.push({ millis: now, requestId: refusal.requestId });
  }
  const { clientAddress = "", peerAddress } = refusal;
  const address = clientAddress === "" ? peerAddress : clientAddress;
  if (address === "" || group.addresses.has(address)) {
    return;
  }
  if (group.addresses.size < MOST_ADDRESSES) {
    group.addresses.add(address);
  } else {
    group.moreAddresses = true;
  }
}
