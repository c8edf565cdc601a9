import { randomUUID } from "node:crypto";
import { parseArgs } from "node:util";
import { hashSync } from "bcryptjs";
import { readImportedHash } from "../src/users/imported-password/imported-password.ts";
import { addUser, makePassword } from "../test/access/cast.ts";
import { query } from "../test/support/cluster.ts";
import { globalSetup, globalTeardown } from "../test/support/global-setup.ts";
import { reasonOf } from "../test/support/refusal.ts";
import { startService, type TestService, TokenService } from "../test/support/service.ts";

// Whether the time that a failing login takes tells why it failed: `npm run bench:logins -- --attempts 1000`.
// Attempts of every kind come in one random order, over HTTP, one at a time. For two kinds, AUC is how often one
// of the first took longer than one of the second: 0.5 tells nothing, 0 and 1 tell everything. By chance alone it
// is within the band that is printed, in 99 of 100 comparisons.

/** No account has so many failures that it would be delayed. */
const FAILURES_EACH = 8;
const WRONG = "not anybody's password";

interface Attempt {
  readonly kind: string;
  readonly email: string;
  readonly password: string;
}

/** What takes how long, in milliseconds, by its kind. */
type Times = ReadonlyMap<string, readonly number[]>;

async function measure(service: TestService, attempts: readonly Attempt[]): Promise<Times> {
  const client = service.client(TokenService);
  const attempt = async ({ email, password }: Attempt) => {
    const grant = { case: "password", value: { email, password } } as const;
    const began = performance.now();
    const reason = await reasonOf(client.issueToken({ grant }));
    const millis = performance.now() - began;
    if (reason !== "LOGIN_FAILED") {
      throw new Error(`a login was to fail, and there was ${reason}`);
    }
    return millis;
  };
  // The first ones find everything cold.
  for (let at = 0; at < 30; at++) {
    await attempt({ kind: "", email: `${at % 5}@warm.test`, password: WRONG });
  }
  const times = new Map<string, number[]>();
  for (const each of shuffled(attempts)) {
    const known = times.get(each.kind) ?? [];
    times.set(each.kind, known);
    known.push(await attempt(each));
  }
  return times;
}

function shuffled<Item>(items: readonly Item[]): Item[] {
  return items
    .map((item) => ({ item, at: Math.random() }))
    .sort((one, other) => one.at - other.at)
    .map(({ item }) => item);
}

/** How often one of the first is greater than one of the second (Mann and Whitney's U, by its most). */
function auc(first: readonly number[], second: readonly number[]): number {
  const greater = first.reduce(
    (sum, one) =>
      sum + second.reduce((count, other) => count + (one > other ? 1 : one === other ? 0.5 : 0), 0),
    0,
  );
  return greater / (first.length * second.length);
}

/** How far from 0.5 it is by chance, in 99 of 100 cases. */
function band(first: number, second: number): number {
  return 2.576 * Math.sqrt((first + second + 1) / (12 * first * second));
}

function report(title: string, times: Times, pairs: readonly (readonly [string, string])[]): void {
  const say = (line: string) => process.stdout.write(`${line}\n`);
  say(`\n${title}`);
  for (const [kind, of] of times) {
    const sorted = of.toSorted((one, other) => one - other);
    const at = (share: number) => (sorted[Math.floor(sorted.length * share)] ?? 0).toFixed(1);
    say(
      `  ${kind.padEnd(34)} ${of.length} attempts, median ${at(0.5)} ms, 5 % ${at(0.05)}, 95 % ${at(0.95)}`,
    );
  }
  for (const [one, other] of pairs) {
    const [first = [], second = []] = [times.get(one), times.get(other)];
    const value = auc(first, second);
    const width = band(first.length, second.length);
    const verdict = Math.abs(value - 0.5) <= width ? "tells nothing" : "TELLS THEM APART";
    say(`  AUC ${value.toFixed(3)}, by chance 0.5 ± ${width.toFixed(3)}: ${one} / ${other}: ${verdict}`);
  }
}

async function main(attempts: number): Promise<void> {
  const service = await startService({ loginSourceLimit: 0 });
  try {
    const { organizationId } = service;
    const own = await makePassword(service.core);
    const foreign = { hash: readImportedHash(hashSync(WRONG.repeat(2), 10)) ?? "" };
    const accounts = Math.ceil(attempts / FAILURES_EACH);
    const range = (count: number) => Array.from({ length: count }, (_, at) => at);
    const add = async (count: number, more: Partial<Parameters<typeof addUser>[1]> = {}) => {
      const asked = { organizationId, role: "member", password: own, ...more };
      const emails: string[] = [];
      for (const _ of range(count)) {
        emails.push((await addUser(service.core, asked)).email);
      }
      return emails;
    };
    const nobodys = () => range(accounts).map(() => `${randomUUID()}@people.test`);
    const of = (kind: string, emails: readonly string[], password = WRONG): Attempt[] =>
      range(attempts).map((at) => ({ kind, email: emails[at % emails.length] ?? "", password }));

    const delayed = await add(accounts);
    await delay(service, delayed);
    const kinds = [
      ...of("wrong password", await add(accounts)),
      ...of("nobody's email", nobodys()),
      ...of("delayed, right password", delayed, own.text),
      ...of("disabled, right password", await add(accounts, { disabled: true }), own.text),
      ...of(
        "one-time, ended, right password",
        await add(accounts, { passwordExpireTime: new Date(0) }),
        own.text,
      ),
    ];
    const times = await measure(service, kinds);
    const others = [...times.keys()].filter((kind) => kind !== "wrong password");
    report(
      "Everybody's password has a hash of Latchkey's own",
      times,
      others.map((kind) => [kind, "wrong password"] as const),
    );

    // As many again, whose former system used bcrypt.
    const { length: count } = await query(service.connection, "select from users");
    const imported = await add(count, { password: foreign });
    const mixed = await measure(service, [
      ...of("somebody's email", [...(await add(accounts)), ...imported.slice(0, accounts)]),
      ...of("nobody's email", nobodys()),
      ...of("imported, not logged in since", imported.slice(accounts)),
      ...of("a hash of Latchkey's own", await add(accounts)),
    ]);
    report("Half of the people were imported, and have not logged in since", mixed, [
      ["nobody's email", "somebody's email"],
      ["imported, not logged in since", "a hash of Latchkey's own"],
    ]);
  } finally {
    await service.stop();
  }
}

/** As if so many logins had failed that the next one is an hour away. */
async function delay(service: TestService, emails: readonly string[]): Promise<void> {
  const client = service.client(TokenService);
  for (const email of emails) {
    const grant = { case: "password", value: { email, password: WRONG } } as const;
    await reasonOf(client.issueToken({ grant }));
  }
  await query(
    service.connection,
    "update login_counters set failures = 30, expire_time = now() + interval '1 day'",
  );
}

const { values } = parseArgs({ options: { attempts: { type: "string", default: "200" } } });
await globalSetup();
try {
  await main(Number(values.attempts));
} finally {
  await globalTeardown();
}
