import type { ApiKey, ApiKeySlot } from "./api-key-entity.ts";

/** An API key as its readers see it. */
export interface ApiKeyView {
  readonly key: ApiKey;
  /** The start of its text, by which people recognize it. */
  readonly displayPrefix: string;
}

/** @param slot the newest. */
export function viewOf(key: ApiKey, slot: ApiKeySlot | undefined): ApiKeyView {
  return { key, displayPrefix: slot?.displayPrefix ?? "" };
}
