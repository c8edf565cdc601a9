import { hash } from "node:crypto";
import type { Tag } from "../changes/mutate.ts";

const CHARACTERS = 12;
const MOST_REMEMBERED = 20_000;

/**
 * What callers are shown of a tag, under a key of no other use: it is the same from every replica, and tells nobody
 * an id. 12 characters of base64url.
 */
export function createCacheTags(key: Uint8Array): (tag: Tag) => string {
  // Of so few characters nobody can make those of a longer text: a hash will do, which is a tenth of the work.
  const secret = Buffer.from(key).toString("base64");
  const textOf = (tag: Tag) => hash("sha256", secret + tag, "base64url").slice(0, CHARACTERS);
  let recent = new Map<Tag, string>();
  let older = new Map<Tag, string>();
  return (tag) => {
    let text = recent.get(tag);
    if (text === undefined) {
      text = older.get(tag) ?? textOf(tag);
      if (recent.size >= MOST_REMEMBERED) {
        older = recent;
        recent = new Map();
      }
      recent.set(tag, text);
    }
    return text;
  };
}
