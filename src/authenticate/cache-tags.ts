import { createHmac } from "node:crypto";
import type { Tag } from "../changes/mutate.ts";

const CHARACTERS = 12;
const MOST_REMEMBERED = 20_000;

/**
 * What callers are shown of a tag, under a key of no other use: it is the same from every replica, and tells nobody
 * an id. 12 characters of base64url.
 */
export function createCacheTags(key: Uint8Array): (tag: Tag) => string {
  let recent = new Map<Tag, string>();
  let older = new Map<Tag, string>();
  return (tag) => {
    let text = recent.get(tag);
    if (text === undefined) {
      text = older.get(tag) ?? createHmac("sha256", key).update(tag).digest("base64url").slice(0, CHARACTERS);
      if (recent.size >= MOST_REMEMBERED) {
        older = recent;
        recent = new Map();
      }
      recent.set(tag, text);
    }
    return text;
  };
}
