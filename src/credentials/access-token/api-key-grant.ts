import { authorOf } from "../../authenticate/actor.ts";
import type { Authenticate } from "../../authenticate/authenticate.ts";
import { holdActor } from "../../authenticate/hold-actor.ts";
import { mutate } from "../../changes/mutate.ts";
import { AuthError } from "../../errors.ts";
import { checkGrant } from "../../permissions/grant.ts";
import type { Storage } from "../../storage/open-storage.ts";
import { type AskedToken, beginKeySession, type KeySubject, signKeyToken } from "./key-session.ts";
import type { IssuedToken, SignTokenParts } from "./sign-token.ts";

/** What can be sent in a header: visible ASCII without the comma, which joins two. */
const SENDABLE = /^[!-+\--~]+$/;

export interface ApiKeyGrantParts extends SignTokenParts {
  readonly storage: Storage;
  readonly authenticate: Authenticate;
}

export interface ApiKeyLogin extends AskedToken {
  /** The whole text of the key. */
  readonly apiKey: string;
  /** Empty: the key's own. */
  readonly organizationId: string;
}

/**
 * Issues a token that stands on an API key, to whoever holds its secret. It is a use of the key like any other.
 *
 * @throws AuthError what the key is refused with, PERMISSION_UNKNOWN, PERMISSION_NOT_HELD, and what holdActor()
 * throws.
 */
export async function grantByApiKey(parts: ApiKeyGrantParts, asked: ApiKeyLogin): Promise<IssuedToken> {
  const { apiKey, organizationId, peerAddress } = asked;
  if (!SENDABLE.test(apiKey)) {
    throw new AuthError("API_KEY_INVALID");
  }
  // In this header nothing is taken for a token: none gets another.
  const decision = await parts.authenticate({
    headers: [{ name: "x-api-key", value: apiKey }],
    requiredPermissions: [],
    anyPermissions: [],
    organizationId,
    callerOrganizationId: "",
    audience: "",
    minRevision: "",
    clientAddress: peerAddress,
  });
  const permissions = checkGrant(decision, asked.permissions, "api-key");
  const actor = { decision, organizationId: decision.organization?.id };
  const subject: KeySubject = { kind: "api_key", organizationId: actor.organizationId };
  return await mutate(parts.storage, authorOf(actor), async (em) => {
    await holdActor(em, actor);
    const begun = await beginKeySession(em, decision, subject, { ...asked, permissions });
    const accessToken = await signKeyToken(em, parts, decision, subject, begun.session);
    const { expireTime } = begun.session;
    // Nothing that is cached depends on a session that is new.
    return {
      result: { accessToken, expireTime, refresh: undefined, user: undefined },
      event: begun.event,
      tags: [],
    };
  });
}
