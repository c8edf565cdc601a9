import { Client } from "pg";

/** What a service does of its own accord: the feed of changes, its health, the usage of keys, their rate limits. */
const BACKGROUND = new RegExp(
  [
    String.raw`^\s*listen\b`,
    "^select 1$",
    String.raw`^select pg_is_in_recovery\(\) as`,
    String.raw`\bpg_current_snapshot\b`,
    String.raw`\b(insert into|delete from) key_usage\b`,
    String.raw`\b(into|from) (key_rate_windows|rate_limit_replicas)\b`,
    String.raw`\bas newest_algorithm\b`,
    String.raw`\bsigning_keys set sealed_private_key\b`,
  ].join("|"),
  "i",
);

/**
 * Tells at the driver: every statement that this process sends to any database while something runs,
 * through the ORM or past it.
 *
 * @param of those of calls, or those that a service sends of its own accord.
 */
export async function statementsOf(
  work: () => Promise<unknown>,
  of: "calls" | "background" = "calls",
): Promise<string[]> {
  const texts: string[] = [];
  const original = Client.prototype.query;
  Client.prototype.query = function (this: Client, ...given: unknown[]) {
    const [query] = given;
    texts.push(typeof query === "string" ? query : String((query as { text?: string }).text));
    return Reflect.apply(original, this, given);
  } as typeof original;
  try {
    await work();
  } finally {
    Client.prototype.query = original;
  }
  return texts.filter((text) => BACKGROUND.test(text) === (of === "background"));
}
