import type { Identity } from "../../authenticate/decision.ts";
import type { KeyTokenState } from "../../authenticate/live-state.ts";
import { type End, endedAlready, type Proof } from "../../authenticate/proof.ts";
import type { Tag } from "../../changes/mutate.ts";
import { narrow, shared } from "../../permissions/rights.ts";
import { endsOfApiKey, identityOf, tagsOfApiKey } from "../api-key/api-key-scheme.ts";
import {
  endsOfServiceKey,
  namesNone,
  serviceIdentityOf,
  tagsOfServiceKey,
} from "../service-key/service-key-scheme.ts";
import { memberRights } from "./member-rights.ts";
import type { ReadKeyToken } from "./read-token.ts";
import { endsOfToken } from "./token-ends.ts";

/**
 * What is true of a token that was got with a key. Whatever binds the key binds the token: its end, its revocation,
 * the end of the secret that was presented, its owner, its addresses, its rate limit, and what it may do now. A
 * use of the token is a use of that secret.
 *
 * @param organizationId that the request names; empty for none.
 */
export function proofOfKeyToken({ claims, state }: ReadKeyToken, organizationId: string): Proof {
  const { session, signingKey, key } = state;
  const { lookupId, displayPrefix } = key.secret;
  const type = state.kind === "api_key" ? "api_key" : "service_key";
  return {
    // On somebody's behalf: nobody's name is told before it is known that the service may use it.
    ...(state.kind === "delegation" && {
      subject: {
        principal: { type: "service", id: key.id },
        organizationId: key.organization?.id,
        credentialId: session.id,
      },
    }),
    // What is in no slot has no uses of its own.
    held: displayPrefix === "" ? undefined : { type, keyId: key.id, lookupId, displayPrefix },
    ends: [
      lostOrganization(state),
      ...(state.kind === "api_key" ? endsOfApiKey(state.key) : endsOfServiceKey(state.key, organizationId)),
      ...(state.kind === "delegation" ? [endOfUser(state)] : []),
      ...endsOfToken(claims, session, signingKey),
    ],
    identity: identityOfKeyToken({ claims, state }),
    tags: [`session:${session.id}`, `signing_key:${signingKey.kid}`, ...tagsOf(state)],
    readMillis: key.now.getTime(),
    variesByOrganization: state.kind === "service" && session.organizationId === undefined,
    onlyNow: state.kind !== "api_key" && namesNone(state.key, organizationId),
  };
}

/** What was for one organization is not for each once that one is gone. */
function lostOrganization({ session, key }: KeyTokenState): End {
  return {
    reason: "ORGANIZATION_UNKNOWN",
    atMillis: endedAlready(session.organizationId !== undefined && key.organization === undefined),
    step: "organization_exists",
    detail: () => "the one that the token is for exists, if it is for one",
  };
}

function endOfUser({ user }: KeyTokenState & { readonly kind: "delegation" }): End {
  return {
    reason: "USER_DISABLED",
    atMillis: endedAlready(!user.active),
    step: "user",
    detail: () => "a member who is not disabled",
  };
}

function tagsOf(state: KeyTokenState): readonly Tag[] {
  switch (state.kind) {
    case "api_key":
      return tagsOfApiKey(state.key);
    case "service":
      return tagsOfServiceKey(state.key);
    case "delegation":
      return [...tagsOfServiceKey(state.key), `user:${state.user.id}`, `role:${state.role.id}`];
  }
}

function identityOfKeyToken({ claims, state }: ReadKeyToken): Identity {
  const { session } = state;
  const whole = state.kind === "api_key" ? identityOf(state.key) : serviceIdentityOf(state.key);
  const { principal } = whole;
  const identity = state.kind === "delegation" ? onBehalf(state, whole) : whole;
  const ends = [claims.expireMillis, session.expireTime, whole.credential.expireTime ?? Infinity];
  const grantee = state.kind === "api_key" ? "api-key" : "service-key";
  return {
    ...identity,
    ...narrow(identity, session.permissions, grantee, identity.catalogue),
    parentKey: {
      type: state.kind === "api_key" ? "api_key" : "service",
      id: principal.id,
      displayName: principal.displayName,
    },
    credential: {
      id: session.id,
      type: "access_token",
      expireTime: new Date(Math.min(...ends.map(Number))),
    },
  };
}

/** A service that acts for a user: what both may do, by names alone. It is not what they are in their role. */
function onBehalf(state: KeyTokenState & { readonly kind: "delegation" }, service: Identity): Identity {
  const { user } = state;
  return {
    ...service,
    ...shared(service, memberRights(state, service.catalogue)),
    principal: { id: user.id, type: "user", displayName: user.displayName, email: user.email, role: "" },
    owner: { userId: user.id },
  };
}
