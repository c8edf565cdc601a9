import type { KeyTokenState } from "../../authenticate/live-state.ts";
import { type Author, mutate } from "../../changes/mutate.ts";
import { AuthError } from "../../errors.ts";
import type { Storage } from "../../storage/open-storage.ts";
import type { KeyHasher } from "../key-digest.ts";
import { endSession } from "./end-session.ts";
import { type ReadTokenParts, readKeyToken, readToken } from "./read-token.ts";
import { findRefreshToken, looksLikeRefreshToken } from "./refresh-token.ts";
import { outlineToken } from "./verify-token.ts";

export interface RevokeTokenParts extends ReadTokenParts {
  readonly storage: Storage;
  readonly keyHasher: KeyHasher;
}

/**
 * Ends the session of an access token or of a refresh token, used or not. A text that is no token of ours, or one
 * that has ended, is no error (RFC 7009 section 2.2); it changes nothing.
 *
 * @returns the ids of what has ended.
 */
export async function revokeToken(parts: RevokeTokenParts, text: string): Promise<readonly string[]> {
  const found = looksLikeRefreshToken(text)
    ? await findRefreshToken(parts, text)
    : await sessionOf(parts, text);
  if (found === undefined) {
    return [];
  }
  const author: Author = "userId" in found ? { type: "user", id: found.userId } : found.author;
  return await mutate(parts.storage, author, (em) => endSession(em, found.sessionId));
}

async function sessionOf(
  parts: ReadTokenParts,
  text: string,
): Promise<{ readonly sessionId: string; readonly author: Author } | undefined> {
  try {
    const outline = outlineToken(text);
    if (outline === undefined || outline.kind === "login") {
      const { session } = await readToken(parts, text, undefined, outline);
      return { sessionId: session.id, author: { type: "user", id: session.user.id } };
    }
    const { state } = await readKeyToken(parts, text, { audience: undefined, organizationId: "" }, outline);
    return { sessionId: state.session.id, author: holderOf(state) };
  } catch (error) {
    if (error instanceof AuthError) {
      return undefined;
    }
    throw error;
  }
}

/** Whoever the token was given to. */
function holderOf(state: KeyTokenState): Author {
  const { id } = state.key;
  if (state.kind === "delegation") {
    return { type: "service", id, onBehalfOf: state.user.id };
  }
  return { type: state.kind, id };
}
