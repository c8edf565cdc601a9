import { Client } from "pg";

/** What a service asks of its own accord: the feed of changes. */
const BACKGROUND = /^\s*listen\b|\bpg_current_snapshot\b/i;

/**
 * Tells at the driver: every statement that this process sends to any database while something runs,
 * through the ORM or past it.
 */
export async function statementsOf(work: () => Promise<unknown>): Promise<string[]> {
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
  return texts.filter((text) => !BACKGROUND.test(text));
}
