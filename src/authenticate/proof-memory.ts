import { hash } from "node:crypto";
import { LRUCache } from "lru-cache";
import type { Hearing } from "../changes/change-feed.ts";
import type { PresentedCredential } from "../credentials/credential-headers.ts";
import type { ProofContext } from "../credentials/scheme.ts";
import { AuthError } from "../errors.ts";
import { Flights } from "./flights.ts";
import { isTrusted } from "./freshness.ts";
import { HeardTags, type HeldTag } from "./heard-tags.ts";
import type { Disproof, Proof } from "./proof.ts";
import type { Prove, Screen } from "./prove.ts";

/** For how long it is remembered that a text is nobody's credential, and of how many texts. */
const DISPROOF_MILLIS = 5_000;
const MOST_DISPROOFS = 10_000;

/** What an entry takes besides its texts, as measured. */
const ENTRY_BYTES = 1_500;
const TAG_BYTES = 100;
/** How often the name of a permission is in the answers that are kept with a proof: once in binary, once in JSON. */
const ANSWERS = 2;
/** What stands around it there: `"calls.read",`. */
const AROUND_BYTES = 3;

const NO_STEPS: ProofContext["trace"] = { check() {} };

interface Remembered {
  readonly proof: Proof;
  readonly tags: readonly HeldTag[];
  /** When the database was asked, by performance.now(). */
  readonly askedAt: number;
  /** Until which generation it is known that none of the tags has changed. */
  generation: number;
}

/** It takes another proof for each organization: a service that may act for all. */
const VARIES = Symbol("varies by organization");

interface Disproved {
  readonly answer: Disproof;
  readonly askedAt: number;
}

export interface ProofMemoryOptions {
  /** Asks the database. */
  readonly prove: Prove;
  /** Asked before that: what is nobody's by its form alone takes neither a read nor any memory. */
  readonly screen: Screen;
  readonly hearing: Hearing;
  /** How much memory it may take, about. */
  readonly maxBytes: number;
}

/**
 * Remembers proofs until something changes that they depend on, and asks for them once, however many calls need one.
 *
 * - What was heard of as changed is never answered again, by a read of the database that began before neither.
 * - It is trusted until 5 seconds after it was last known that all changes were heard of, or after it was read.
 * - It is found by the SHA-256 of the whole credential, of its kind and of all that its proof varies by. The
 *   credential itself is not kept.
 */
export class ProofMemory {
  /** What the database said, if that still holds; else what it says. */
  readonly prove: Prove = (credential, context) => this.#recall(credential, context);
  readonly #ask: Prove;
  readonly #screen: Screen;
  readonly #hearing: Hearing;
  readonly #tags: HeardTags;
  readonly #flights = new Flights<Proof | Disproof>();
  readonly #proofs: LRUCache<string, Remembered | typeof VARIES>;
  /** The newest time of the database that a read has told, and when it was asked for. */
  #read = { millis: -Infinity, askedAt: 0 };
  /** The oldest first. */
  readonly #disproofs = new Map<string, Disproved>();

  constructor({ prove, screen, hearing, maxBytes }: ProofMemoryOptions) {
    this.#ask = prove;
    this.#screen = screen;
    this.#hearing = hearing;
    this.#proofs = new LRUCache({
      maxSize: maxBytes,
      sizeCalculation: (entry) => (entry === VARIES ? TAG_BYTES : sizeOf(entry.proof)),
      dispose: (entry) => {
        if (entry !== VARIES) {
          this.#tags.release(entry.tags);
        }
      },
    });
    this.#tags = new HeardTags(hearing, () => {
      this.#proofs.clear();
      this.#disproofs.clear();
    });
  }

  /** How many proofs are remembered. */
  get size(): number {
    return this.#proofs.size;
  }

  /** The database's time when a proof is used, in milliseconds since the epoch: no earlier than it is. */
  nowFor({ readMillis }: Proof): number {
    const { millis, askedAt } = this.#read;
    return Math.max(readMillis, this.#hearing.now() ?? millis + performance.now() - askedAt);
  }

  #recall(credential: PresentedCredential, context: ProofContext): ReturnType<Prove> {
    const { organizationId } = context;
    const name = nameOf(credential, context);
    let found = this.#proofs.get(name);
    if (found === VARIES) {
      found = this.#proofs.get(nameFor(name, organizationId));
    }
    if (found !== undefined && found !== VARIES && this.#isCurrent(found)) {
      return found.proof;
    }
    const disproof = this.#disproofs.get(name);
    if (disproof !== undefined && this.#isCurrentDisproof(disproof)) {
      return disproof.answer;
    }
    this.#screen(credential);
    return this.#flights
      .join(nameFor(name, organizationId), this.#hearing.generation, () =>
        this.#learn(name, credential, context),
      )
      .catch(rethrowAnew);
  }

  #isCurrent(entry: Remembered): boolean {
    const { generation } = this.#hearing;
    if (entry.generation !== generation) {
      for (const { changed } of entry.tags) {
        if (changed > entry.generation) {
          return false;
        }
      }
      entry.generation = generation;
    }
    return isTrusted(this.#hearing, entry.askedAt);
  }

  #isCurrentDisproof({ askedAt }: Disproved): boolean {
    return performance.now() - askedAt < DISPROOF_MILLIS;
  }

  async #learn(
    name: string,
    credential: PresentedCredential,
    context: ProofContext,
  ): Promise<Proof | Disproof> {
    const { generation } = this.#hearing;
    const askedAt = performance.now();
    this.#tags.begin(generation);
    try {
      const answer = await this.#ask(credential, { ...context, trace: NO_STEPS });
      if ("disproved" in answer) {
        if (this.#tags.areUnchangedSince([], generation)) {
          this.#keepDisproof(name, { answer, askedAt });
        }
        return answer;
      }
      this.#read = { millis: answer.readMillis, askedAt };
      if (answer.onlyNow !== true && this.#tags.areUnchangedSince(answer.tags, generation)) {
        this.#keep(name, context.organizationId, answer, { generation, askedAt });
      }
      return answer;
    } finally {
      this.#tags.end(generation);
    }
  }

  #keep(
    name: string,
    organizationId: string,
    proof: Proof,
    read: Pick<Remembered, "generation" | "askedAt">,
  ): void {
    const lasting = withoutEndless(proof);
    if (sizeOf(lasting) > this.#proofs.maxSize) {
      // It would not be kept, and nobody would let go of its tags.
      return;
    }
    const remembered = { proof: lasting, tags: this.#tags.hold(proof.tags), ...read };
    if (proof.variesByOrganization) {
      this.#proofs.set(name, VARIES);
      this.#proofs.set(nameFor(name, organizationId), remembered);
    } else {
      this.#proofs.set(name, remembered);
    }
  }

  #keepDisproof(name: string, disproof: Disproved): void {
    this.#disproofs.delete(name);
    if (this.#disproofs.size >= MOST_DISPROOFS) {
      const [oldest = ""] = this.#disproofs.keys();
      this.#disproofs.delete(oldest);
    }
    this.#disproofs.set(name, disproof);
  }
}

/**
 * Of the kind, the text and the audience: the first two hold no NUL, and an audience counts for tokens alone.
 */
function nameOf({ kind, text }: PresentedCredential, { audience }: ProofContext): string {
  return hash("sha256", kind === "bearer" ? `${kind}\0${text}\0${audience}` : `${kind}\0${text}`, "binary");
}

/** Never the name itself, also where no organization is named. */
function nameFor(name: string, organizationId: string): string {
  return `${name}/${organizationId}`;
}

/** Each call has a refusal of its own: whom it is about is noted in it, such as the client's address. */
function rethrowAnew(thrown: unknown): never {
  throw thrown instanceof AuthError ? new AuthError(thrown.reason, thrown) : thrown;
}

/** What has no end is no matter in any call. */
function withoutEndless(proof: Proof): Proof {
  return { ...proof, ends: proof.ends.filter(({ atMillis }) => atMillis !== Infinity) };
}

function sizeOf({ identity, tags }: Proof): number {
  const { grants, allowedCidrs, secretMakers, permissions } = identity;
  const texts = [...grants, ...allowedCidrs, ...secretMakers];
  const own = texts.reduce((sum, text) => sum + 24 + text.length, 0);
  return ENTRY_BYTES + tags.length * TAG_BYTES + own + ANSWERS * toldBytes(permissions);
}

/** Many proofs have the same set. */
const told = new WeakMap<ReadonlySet<string>, number>();

/** What permissions take in an answer. */
function toldBytes(permissions: ReadonlySet<string>): number {
  let bytes = told.get(permissions);
  if (bytes === undefined) {
    bytes = 0;
    for (const name of permissions) {
      bytes += name.length + AROUND_BYTES;
    }
    told.set(permissions, bytes);
  }
  return bytes;
}
