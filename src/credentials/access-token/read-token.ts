import type { LiveState, SessionState } from "../../authenticate/live-state.ts";
import { AuthError } from "../../errors.ts";
import { outlineToken, type TokenVerifier, verificationKey } from "./verify-token.ts";

export interface ReadTokenParts {
  readonly liveState: LiveState;
  readonly tokenVerifier: TokenVerifier;
}

/**
 * Checks that a token is one of ours, and reads the session it stands on, in whatever state that is.
 *
 * @param audience that the token must have been issued for; undefined for any.
 * @throws AuthError where the token itself does not hold, or the key that signed it was withdrawn.
 */
export async function readToken(
  { liveState, tokenVerifier }: ReadTokenParts,
  text: string,
  audience: string | undefined,
): Promise<SessionState> {
  const outline = outlineToken(text);
  if (outline === undefined) {
    throw new AuthError("TOKEN_INVALID");
  }
  const known = tokenVerifier.knownKey(outline.kid);
  // A forged token ends here, before anything is asked of the database.
  const early = known && (await tokenVerifier.verify(text, known, audience));
  const { session, signingKey } = await liveState.session(outline.sessionId, outline.kid);
  if (signingKey === undefined) {
    throw new AuthError("TOKEN_INVALID");
  }
  // Not known: made by another replica since this one started.
  const claims =
    early ??
    (await tokenVerifier.verify(text, verificationKey(signingKey.algorithm, signingKey.publicJwk), audience));
  if (session === undefined || session.user.id !== claims.subject) {
    throw new AuthError("TOKEN_INVALID");
  }
  if (signingKey.revokeTime !== undefined) {
    throw new AuthError("TOKEN_REVOKED");
  }
  if (signingKey.isGone) {
    throw new AuthError("TOKEN_EXPIRED");
  }
  return session;
}
