import { type CredentialHeaders, readCredentialHeaders } from "../credentials/credential-headers.ts";
import type { Scheme } from "../credentials/scheme.ts";
import { AuthError } from "../errors.ts";
import { isUuid } from "../uuid.ts";
import { isAddress, isWithin } from "./address-range.ts";
import type { Decision, Identity, Question } from "./decision.ts";

/**
 * The one question: is there exactly one good credential in these headers, and is it good for this?
 *
 * Rejects with an AuthError and nothing else: a refusal with its reason, or UNAVAILABLE where Latchkey
 * itself failed. What is not a decision is neither a refusal nor an allowance.
 */
export type Authenticate = (question: Question) => Promise<Decision>;

export function createAuthenticate(schemes: readonly Scheme[]): Authenticate {
  return async (question) => {
    try {
      return await decide(schemes, question);
    } catch (error) {
      throw error instanceof AuthError ? error : new AuthError("UNAVAILABLE", { cause: error });
    }
  };
}

async function decide(schemes: readonly Scheme[], question: Question): Promise<Decision> {
  if (question.clientAddress !== "" && !isAddress(question.clientAddress)) {
    throw new AuthError("CLIENT_ADDRESS_INVALID");
  }
  const headers = readCredentialHeaders(question.headers);
  const organizationId = namedOrganization(headers.organizationId, question);
  const identity = await identify(schemes, headers, {
    organizationId,
    audience: question.audience,
  });
  requireOrganization(identity, organizationId);
  requireAddress(identity.allowedCidrs, question.clientAddress);
  requirePermissions(identity, question.requiredPermissions);
  return { ...identity, stripHeaders: headers.strip };
}

/** The organization that is asked about: the same, whoever names it. Empty: none is named. */
function namedOrganization(inHeader: string, { organizationId, callerOrganizationId }: Question): string {
  const inRequest = organizationId.toLowerCase();
  if (inRequest !== "" && !isUuid(inRequest)) {
    throw new AuthError("ORGANIZATION_ID_INVALID");
  }
  if (inHeader !== "" && inRequest !== "" && inHeader !== inRequest) {
    throw new AuthError("ORGANIZATION_AMBIGUOUS");
  }
  const named = inHeader === "" ? inRequest : inHeader;
  if (named !== "" && callerOrganizationId !== "" && named !== callerOrganizationId) {
    throw new AuthError("ORGANIZATION_MISMATCH");
  }
  return named === "" ? callerOrganizationId : named;
}

async function identify(
  schemes: readonly Scheme[],
  { credential }: CredentialHeaders,
  context: { organizationId: string; audience: string },
): Promise<Identity> {
  if (credential === undefined) {
    throw new AuthError("CREDENTIAL_MISSING");
  }
  for (const scheme of schemes) {
    const identity = await scheme.identify(credential, context);
    if (identity !== undefined) {
      return identity;
    }
  }
  throw new Error(`no scheme takes a credential of the kind ${credential.kind}`);
}

function requireOrganization({ organization }: Identity, named: string): void {
  if (organization?.suspended) {
    throw new AuthError("ORGANIZATION_SUSPENDED");
  }
  if (named !== "" && organization?.id !== named) {
    throw new AuthError("ORGANIZATION_MISMATCH");
  }
}

function requireAddress(allowedCidrs: readonly string[], clientAddress: string): void {
  if (allowedCidrs.length === 0) {
    return;
  }
  if (clientAddress === "") {
    throw new AuthError("CLIENT_ADDRESS_REQUIRED");
  }
  if (!isWithin(clientAddress, allowedCidrs)) {
    throw new AuthError("CLIENT_ADDRESS_DENIED");
  }
}

function requirePermissions({ permissions, catalogue }: Identity, required: readonly string[]): void {
  const known = (name: string) => catalogue.organization.includes(name) || catalogue.platform.includes(name);
  const unknown = required.filter((name) => !known(name));
  if (unknown.length > 0) {
    throw new AuthError("PERMISSION_UNKNOWN", { metadata: { unknown: unknown.join(" ") } });
  }
  const missing = required.filter((name) => !permissions.has(name));
  if (missing.length > 0) {
    throw new AuthError("PERMISSION_DENIED", { metadata: { missing: missing.join(" ") } });
  }
}
