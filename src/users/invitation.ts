import type { KeyHasher } from "../credentials/key-digest.ts";
import { mintKey, parseKey } from "../credentials/secret-key.ts";
import type { Account, PendingMembership } from "./account.ts";

const PREFIX = "in";
const PREFIXES: ReadonlySet<string> = new Set([PREFIX]);

/** For how long an invitation can be used, and an initial password changed: an interval of PostgreSQL. */
export const INVITED_FOR = "7 days";

/** An invitation as it is handed out, and what is kept of it. */
export interface MintedInvitation {
  /** The whole text: the secret. */
  readonly text: string;
  readonly lookupId: string;
  readonly digest: Buffer;
  readonly pepperId: string;
}

/** Makes one of 256 random bits, written like a key. */
export function mintInvitation(keyHasher: KeyHasher): MintedInvitation {
  const { text, lookupId } = mintKey(PREFIX);
  return { text, lookupId, ...keyHasher.hash(text) };
}

/** The pending membership of an account that a text is the invitation to. */
export function invitedBy(
  text: string,
  { pending }: Account,
  keyHasher: KeyHasher,
): PendingMembership | undefined {
  const lookupId = parseKey(text, PREFIXES);
  const membership = pending.find(
    ({ invitation }) => invitation !== undefined && invitation.lookupId === lookupId,
  );
  return keyHasher.matches(text, membership?.invitation?.stored) ? membership : undefined;
}
