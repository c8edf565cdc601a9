import { createHmac } from "node:crypto";
import { AuthError } from "../errors.ts";
import type { Storage } from "../storage/open-storage.ts";
import { createInTurn } from "./in-turn.ts";
import { loginSourceOf } from "./login-source.ts";

/** Of one counter, without a delay. With all that an account can have, it makes fewer than a hundred. */
export const FREE_FAILURES = 10;
/** The places that are known of one account, beside the one counter of everywhere else. */
export const KNOWN_SOURCES = 8;
/** For how long a place is known after it was last logged in from. */
const KNOWN_FOR = "30 days";
const SOURCE_WINDOW = "15 minutes";
/** Who waits for others from the same place at the same account: as many as the hasher lets wait. */
const MOST_WAITING = 64;
/** How many rows that have ended each attempt throws away: more than it can add. */
const SWEPT_AT_ONCE = 10;

/** After the tenth failure 30 seconds, doubled with each further one, up to an hour. */
const DELAY = `case when c.failures < ${FREE_FAILURES} then interval '0'
  else least(interval '1 hour', interval '30 seconds' * power(2, least(c.failures - ${FREE_FAILURES}, 10))) end`;
/**
 * For how long failures are remembered: an hour for each, up to a day. To wait until they are forgotten then
 * wins no more guesses than the longest delay lets through.
 */
const memory = (failures: string) => `interval '1 hour' * least(${failures}, 24)`;
const FAILURES = `case when c.failure_time + ${memory("c.failures")} <= now() then 1 else c.failures + 1 end`;

const GIVEN = "given as (select ?::bytea as source, ?::bytea as account, ?::bytea as known_source)";

// Locks are taken in one order everywhere: the source, then the account's counters; what is swept comes last
// and waits for nobody.
const ADMIT = `
  with ${GIVEN},
  source_charged as (
    insert into login_sources as s (source, failures, expire_time)
    select source, 1, now() + interval '${SOURCE_WINDOW}' from given
    on conflict (source) do update set
      failures = case when s.expire_time <= now() then 1 else s.failures + 1 end,
      expire_time = case when s.expire_time <= now() then excluded.expire_time else s.expire_time end
      where s.expire_time <= now() or s.failures < ?
    returning 1),
  counter as (
    select account, coalesce((
      select c.source from login_counters c
      where c.account = given.account and c.source = given.known_source and c.expire_time > now()), '') as source
    from given where exists (select from source_charged)),
  charged as (
    insert into login_counters as c (account, source, failures, failure_time, expire_time)
    select account, source, 1, now(), now() + ${memory("1")} from counter
    on conflict (account, source) do update set
      failures = ${FAILURES},
      failure_time = now(),
      -- Failures do not make a place known for longer.
      expire_time = case when c.source <> '' then c.expire_time else now() + ${memory(FAILURES)} end
      -- Of two at the same time, the later one may have come first: that is no delay.
      where c.failures < ${FREE_FAILURES} or c.failure_time + (${DELAY}) <= now()
    returning c.source)
  select exists (select from counter) as is_source_admitted,
    (select source from charged) as counter,
    coalesce(
      (select ceil(extract(epoch from s.expire_time - now()) * 1000)::float8
        from login_sources s, given where s.source = given.source and s.expire_time > now()),
      1000) as retry_millis`;

// One text for those that got in and those that did not.
const SETTLE = `
  with ${GIVEN},
  succeeded as (select given.*, ?::bytea as counter from given where ?::boolean),
  source_discharged as (
    update login_sources s set failures = greatest(s.failures - 1, 0)
    from succeeded where s.source = succeeded.source and s.expire_time > now()
    returning 1),
  forgiven as (
    delete from login_counters c using succeeded
    where c.account = succeeded.account and c.source = '' and succeeded.counter = ''
      and (select count(*) from source_discharged) >= 0
    returning 1),
  known as (
    insert into login_counters as c (account, source, failures, failure_time, expire_time)
    select account, known_source, 0, now(), now() + interval '${KNOWN_FOR}' from succeeded
    where (select count(*) from forgiven) >= 0
    on conflict (account, source) do update set
      failures = 0, failure_time = excluded.failure_time, expire_time = excluded.expire_time
    returning 1),
  supernumerary as (
    delete from login_counters where (account, source) in (
      select c.account, c.source from login_counters c
      where (select count(*) from known) >= 0 and (c.account, c.source) in (
        select o.account, o.source from login_counters o, succeeded
        where o.account = succeeded.account and o.source not in ('', succeeded.known_source)
        order by o.expire_time desc offset ${KNOWN_SOURCES - 1})
      for update skip locked)
    returning 1),
  swept_counters as (
    delete from login_counters where (account, source) in (
      select c.account, c.source from login_counters c
      where c.expire_time <= now() and c.account <> (select account from given)
        and (select count(*) from supernumerary) >= 0
      limit ${SWEPT_AT_ONCE} for update skip locked)),
  swept_sources as (
    delete from login_sources where source in (
      select s.source from login_sources s
      where s.expire_time <= now() and s.source <> (select source from given)
        and (select count(*) from supernumerary) >= 0
      limit ${SWEPT_AT_ONCE} for update skip locked))
  select 1`;

/** Somebody's logging in from somewhere, as the database knows it. */
export interface LoginSubject {
  readonly source: Buffer;
  readonly account: Buffer;
  /** The source as the account knows it: no other account's has the same. */
  readonly knownSource: Buffer;
}

export interface Admission {
  /** The counter that the attempt was added to. Undefined: it is delayed, and whatever it says is wrong. */
  readonly counter: Buffer | undefined;
}

/** Counts failed logins, in the database that all replicas share. */
export interface LoginThrottle {
  /**
   * @param email in canonical form; whether there is such a user makes no difference.
   * @param peerAddress of the socket's other end.
   */
  subjectOf(email: string, peerAddress: string): LoginSubject;
  /**
   * Attempts at one account from one source take turns within this process, so that those which will be right
   * do not use up the free failures while they are under way.
   *
   * @throws AuthError PASSWORD_HASHING_BUSY where too many wait.
   */
  inTurn<Result>(subject: LoginSubject, work: () => Promise<Result>): Promise<Result>;
  /**
   * Counts the attempt as a failure before it is made: however many come at once, no more are let through.
   *
   * @throws AuthError LOGIN_THROTTLED where too many from this source failed, at whatever account.
   */
  admit(subject: LoginSubject): Promise<Admission>;
  /** Takes a success out of the counts, and remembers its source. A failure stays as it was counted. */
  settle(subject: LoginSubject, admission: Admission, succeeded: boolean): Promise<void>;
}

export interface LoginThrottleOptions {
  readonly storage: Storage;
  /** 32 bytes, of no other use. */
  readonly key: Uint8Array;
  /** The most failures from one source in 15 minutes. 0: any number. */
  readonly sourceLimit: number;
}

interface AdmitRow {
  is_source_admitted: boolean;
  counter: Buffer | null;
  retry_millis: number;
}

const NO_LIMIT = 2_147_483_647;

export function createLoginThrottle({ storage, key, sourceLimit }: LoginThrottleOptions): LoginThrottle {
  const digest = (...parts: readonly string[]) =>
    createHmac("sha256", key).update(JSON.stringify(parts)).digest();
  const inTurn = createInTurn(MOST_WAITING, () => new AuthError("PASSWORD_HASHING_BUSY"));
  const given = ({ source, account, knownSource }: LoginSubject) => [source, account, knownSource];

  return {
    subjectOf(email, peerAddress) {
      const source = loginSourceOf(peerAddress);
      return {
        source: digest("source", source),
        account: digest("account", email),
        knownSource: digest("known source", email, source),
      };
    },
    inTurn: (subject, work) => inTurn(subject.knownSource.toString("hex"), work),
    async admit(subject) {
      const limit = sourceLimit === 0 ? NO_LIMIT : sourceLimit;
      const [row]: AdmitRow[] = await storage.fork().execute(ADMIT, [...given(subject), limit]);
      if (row?.is_source_admitted !== true) {
        throw new AuthError("LOGIN_THROTTLED", { retryAfterMillis: row?.retry_millis ?? 1000 });
      }
      return { counter: row.counter ?? undefined };
    },
    async settle(subject, { counter }, succeeded) {
      const isCounted = succeeded && counter !== undefined;
      await storage.fork().execute(SETTLE, [...given(subject), counter ?? Buffer.alloc(0), isCounted]);
    },
  };
}
