import { mutate } from "../../changes/mutate.ts";
import { AuthError } from "../../errors.ts";
import type { Storage } from "../../storage/open-storage.ts";
import type { KeyHasher } from "../key-digest.ts";
import { endSession } from "./end-session.ts";
import { type ReadTokenParts, readToken } from "./read-token.ts";
import { findRefreshToken, looksLikeRefreshToken } from "./refresh-token.ts";

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
  const author = { type: "user", id: found.userId } as const;
  return await mutate(parts.storage, author, (em) => endSession(em, found.sessionId));
}

async function sessionOf(
  parts: ReadTokenParts,
  text: string,
): Promise<{ readonly sessionId: string; readonly userId: string } | undefined> {
  try {
    const { session } = await readToken(parts, text, undefined);
    return { sessionId: session.id, userId: session.user.id };
  } catch (error) {
    if (error instanceof AuthError) {
      return undefined;
    }
    throw error;
  }
}
