import type { SigningKeyState } from "../../authenticate/live-state.ts";
import { type End, endedAlready, endMillis } from "../../authenticate/proof.ts";
import { LEEWAY_SECONDS, type TokenClaims } from "./verify-token.ts";

/** When a token comes to its end, by what it says itself, its session and the key that signed it. */
export function endsOfToken(
  { expireMillis }: TokenClaims,
  session: { readonly expireTime: Date; readonly revokeTime: Date | undefined },
  signingKey: SigningKeyState,
): readonly End[] {
  const detail = () => `it ends at ${session.expireTime.toISOString()}`;
  const expired = (atMillis: number): End => ({ reason: "TOKEN_EXPIRED", atMillis, step: "session", detail });
  return [
    {
      reason: "TOKEN_REVOKED",
      atMillis: endedAlready(session.revokeTime !== undefined),
      step: "session",
      detail,
    },
    expired(
      Math.min(
        session.expireTime.getTime(),
        expireMillis + LEEWAY_SECONDS * 1000,
        endMillis(signingKey.removeTime),
      ),
    ),
  ];
}
