import { setTimeout as delay } from "node:timers/promises";
import type { EntityManager } from "@mikro-orm/postgresql";
import type { JWK } from "jose";
import type { Logger } from "pino";
import type { Storage } from "../../storage/open-storage.ts";
import type { Seal } from "../../storage/seal.ts";
import { type VerificationKey, verificationKey } from "../access-token/verify-token.ts";
import { makeSigningKey, type NewSigningKey, type SigningAlgorithm } from "./new-signing-key.ts";
import { rotateWhereDue } from "./rotate-signing-key.ts";
import { createReadSigner, type ReadSigner } from "./signer.ts";
import { PUBLISHED_AHEAD } from "./signing-key-line.ts";

/** How often each replica looks which keys there are. */
const LOOK_MILLIS = 2_000;
/** How old what it saw may be when it publishes them. */
const FRESH_MILLIS = 1_000;
/** How long whoever fetches them waits for a look: verifiers do not wait for long themselves. */
const PATIENCE_MILLIS = 1_000;

/** The signing keys, as one replica knows them. */
export interface SigningKeys {
  /** The key that new tokens are signed with: asked anew for each. */
  readonly readSigner: ReadSigner;
  /** A published key, as of the last look. One that is not known here may still be good: ask the database. */
  find(kid: string): VerificationKey | undefined;
  /** The published keys (RFC 7517 section 5). Where the database is away, those of the last look. */
  jwks(): Promise<{ readonly keys: readonly JWK[] }>;
  /** Looks now. Never rejects. */
  refresh(): Promise<void>;
  /** Looks again and again, and rotates where it is time to. */
  start(): void;
  stop(): void;
}

export interface SigningKeysOptions {
  readonly storage: Storage;
  readonly seal: Seal;
  /** Of the keys that are made from now on. */
  readonly algorithm: SigningAlgorithm;
  /** For how many days a key signs. 0: until somebody rotates it. */
  readonly days: number;
  readonly log: Pick<Logger, "info" | "warn">;
}

interface PublishedKey {
  readonly kid: string;
  readonly algorithm: string;
  readonly publicJwk: JWK;
}

interface Seen {
  readonly published: readonly PublishedKey[];
  /** Whether the newest key has signed long enough, or there is none. */
  readonly is_due: boolean;
  readonly has_next: boolean;
  /** Of the newest key. Null: there is none. */
  readonly newest_algorithm: string | null;
  /** Whether there is a private part that nobody needs any more. */
  readonly has_spent: boolean;
}

/** Well after the last transaction that had begun to sign with it. */
const SPENT = "sealed_private_key is not null and retire_time < now() - interval '1 minute'";

const look = (days: string) => `
  with line as (
    select * from signing_keys where revoke_time is null and (retire_time is null or retire_time > now()))
  select
    (select coalesce(jsonb_agg(jsonb_build_object(
        'kid', kid, 'algorithm', algorithm, 'publicJwk', public_jwk) order by activate_time), '[]')
      from signing_keys where revoke_time is null and publish_time <= now()
        and (remove_time is null or remove_time > now())) as published,
    (select count(*) filter (where ${days}::int = 0
      or activate_time > now() - ${days}::int * interval '1 day' + interval '${PUBLISHED_AHEAD}') = 0
      from line) as is_due,
    exists (select from line where activate_time > now()) as has_next,
    (select algorithm from line order by activate_time desc limit 1) as newest_algorithm,
    exists (select from signing_keys where ${SPENT}) as has_spent`;

/**
 * Knows the deployment's signing keys, and makes the first: one, however many processes start at once.
 *
 * @throws SealBroken where the key that signs was sealed under another encryption key.
 */
export async function loadSigningKeys(options: SigningKeysOptions): Promise<SigningKeys> {
  const { storage, algorithm, days, log } = options;
  const readSigner = createReadSigner(options.seal);
  let known = new Map<string, PublishedKey & { readonly verification: VerificationKey }>();
  let lookedAt = Number.NEGATIVE_INFINITY;
  let looking: Promise<Seen> | undefined;
  let isFailing = false;
  /** Whether the algorithm that was set has been taken up: once, lest replicas of different settings take turns. */
  let isSettled = false;
  /** Made for a rotation that has not come about yet. */
  let spare: NewSigningKey | undefined;
  let timer: NodeJS.Timeout | undefined;
  let isTicking = false;
  let isStopped = false;

  const readIn = async (em: EntityManager) => (await em.execute<Seen[]>(look("?"), [days, days]))[0];
  const readInBackground = () => storage.inBackground<Seen>("signing keys", look("$1"), [days]);

  async function see(read: () => Promise<Seen | undefined> = readInBackground): Promise<Seen> {
    const startedAt = performance.now();
    const seen = await read();
    if (seen === undefined) {
      throw new Error("the look at the signing keys always has a row");
    }
    isSettled ||= seen.newest_algorithm === algorithm;
    if (startedAt < lookedAt) {
      // Somebody who has begun later was faster.
      return seen;
    }
    lookedAt = startedAt;
    known = new Map(
      seen.published.map((row) => [
        row.kid,
        known.get(row.kid) ?? { ...row, verification: verificationKey(row.algorithm, { ...row.publicJwk }) },
      ]),
    );
    return seen;
  }

  /** One look at a time: whoever comes meanwhile gets its answer. */
  function seeOnce(): Promise<Seen> {
    looking ??= see().finally(() => {
      looking = undefined;
    });
    return looking;
  }

  const isRotationDue = (seen: Seen) =>
    seen.is_due || (!isSettled && !seen.has_next && seen.newest_algorithm !== algorithm);

  async function rotate(): Promise<void> {
    const isDueStill = async (em: EntityManager) => {
      const seen = await readIn(em);
      return seen !== undefined && isRotationDue(seen);
    };
    // To make one may take a while: it is not to be made anew with each attempt that fails.
    spare ??= await makeSigningKey(options.seal, algorithm);
    if (await rotateWhereDue(storage, spare, isDueStill)) {
      log.info({ kid: spare.kid, algorithm }, "made a signing key");
    }
    spare = undefined;
  }

  async function tick(): Promise<void> {
    const seen = await seeOnce();
    if (isRotationDue(seen)) {
      await rotate();
      await see();
    }
    if (seen.has_spent) {
      const erase = `update signing_keys set sealed_private_key = null where ${SPENT}`;
      await storage.inBackground("spent signing keys", erase, []);
    }
  }

  async function quietly(work: () => Promise<unknown>): Promise<void> {
    try {
      await work();
      isFailing = false;
    } catch (error) {
      if (!isFailing && !isStopped) {
        log.warn({ err: error }, "the signing keys could not be looked after; they stay as they were");
      }
      isFailing = true;
    }
  }

  const seeAtStart = () => see(() => readIn(storage.fork()));
  if (isRotationDue(await seeAtStart())) {
    await rotate();
    await seeAtStart();
  }
  // Better now than at the first login.
  await storage.fork().transactional(readSigner);

  return {
    readSigner,
    find: (kid) => known.get(kid)?.verification,
    async jwks() {
      if (performance.now() - lookedAt > FRESH_MILLIS && !isFailing) {
        await Promise.race([quietly(seeOnce), delay(PATIENCE_MILLIS, undefined, { ref: false })]);
      }
      return {
        keys: [...known.values()].map((row) => ({
          ...row.publicJwk,
          kid: row.kid,
          alg: row.algorithm,
          use: "sig",
        })),
      };
    },
    refresh: () => quietly(() => see()),
    start() {
      timer = setInterval(async () => {
        if (!isTicking) {
          isTicking = true;
          await quietly(tick);
          isTicking = false;
        }
      }, LOOK_MILLIS).unref();
    },
    stop() {
      isStopped = true;
      clearInterval(timer);
    },
  };
}
