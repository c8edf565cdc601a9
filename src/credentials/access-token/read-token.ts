import type {
  KeyTokenState,
  LiveState,
  SessionState,
  SigningKeyState,
} from "../../authenticate/live-state.ts";
import { AuthError } from "../../errors.ts";
import {
  outlineToken,
  type TokenClaims,
  type TokenOutline,
  type TokenVerifier,
  verificationKey,
} from "./verify-token.ts";

export interface ReadTokenParts {
  readonly liveState: LiveState;
  readonly tokenVerifier: TokenVerifier;
}

/** A token that is one of ours. */
export interface ReadToken {
  readonly claims: TokenClaims;
  readonly session: SessionState;
  readonly signingKey: SigningKeyState;
}

/** A token that is one of ours and was got with a key. */
export interface ReadKeyToken {
  readonly claims: TokenClaims;
  readonly state: KeyTokenState;
}

/**
 * Checks that a token is one of ours that somebody logged in for, and reads the session it stands on, in whatever
 * state that is.
 *
 * @param audience that the token must have been issued for; undefined for any.
 * @param outline of the text, where it is known.
 * @throws AuthError where the token itself does not hold, or the key that signed it was withdrawn.
 */
export async function readToken(
  parts: ReadTokenParts,
  text: string,
  audience: string | undefined,
  outline = outlineToken(text),
): Promise<ReadToken> {
  if (outline?.kind !== "login") {
    throw new AuthError("TOKEN_INVALID");
  }
  const look = () => parts.liveState.session(outline.sessionId, outline.kid);
  const { claims, state, signingKey } = await readWith(parts, text, outline, audience, look);
  const { session } = state;
  if (session === undefined || session.user.id !== claims.subject) {
    throw new AuthError("TOKEN_INVALID");
  }
  requireNotWithdrawn(signingKey, session.now);
  return { claims, session, signingKey };
}

/**
 * The same for a token that was got with a key.
 *
 * @param asked.organizationId the organization to act for, where the token leaves that open; empty for none.
 */
export async function readKeyToken(
  parts: ReadTokenParts,
  text: string,
  asked: { readonly audience: string | undefined; readonly organizationId: string },
  outline = outlineToken(text),
): Promise<ReadKeyToken> {
  if (outline === undefined || outline.kind === "login") {
    throw new AuthError("TOKEN_INVALID");
  }
  const { kind, sessionId, kid } = outline;
  const look = () => parts.liveState.keyToken(kind, sessionId, kid, asked.organizationId);
  const { claims, state, signingKey } = await readWith(parts, text, outline, asked.audience, look);
  if (state === undefined || subjectOf(state) !== claims.subject) {
    throw new AuthError("TOKEN_INVALID");
  }
  requireNotWithdrawn(signingKey, state.key.now);
  return { claims, state };
}

/** The claims of a token, and what there is to know about it, of which nothing is checked yet. */
async function readWith<State extends { readonly signingKey: SigningKeyState | undefined } | undefined>(
  { tokenVerifier }: ReadTokenParts,
  text: string,
  { kid }: TokenOutline,
  audience: string | undefined,
  look: () => Promise<State>,
): Promise<{ claims: TokenClaims; state: State; signingKey: SigningKeyState }> {
  const known = tokenVerifier.knownKey(kid);
  // A forged token ends here, before anything is asked of the database.
  const early = known && (await tokenVerifier.verify(text, known, audience));
  const state = await look();
  const signingKey = state?.signingKey;
  if (signingKey === undefined) {
    throw new AuthError("TOKEN_INVALID");
  }
  // Not known: made by another replica since this one started.
  const claims =
    early ??
    (await tokenVerifier.verify(text, verificationKey(signingKey.algorithm, signingKey.publicJwk), audience));
  return { claims, state, signingKey };
}

function requireNotWithdrawn({ revokeTime, removeTime }: SigningKeyState, now: Date): void {
  if (revokeTime !== undefined) {
    throw new AuthError("TOKEN_REVOKED");
  }
  if (removeTime !== undefined && removeTime <= now) {
    throw new AuthError("TOKEN_EXPIRED");
  }
}

/** Whom a token speaks of: the user on whose behalf a service acts, or the key itself. */
function subjectOf(state: KeyTokenState): string {
  return state.kind === "delegation" ? state.user.id : state.key.id;
}
