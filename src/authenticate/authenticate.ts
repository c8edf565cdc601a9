import { type CredentialHeaders, readCredentialHeaders } from "../credentials/credential-headers.ts";
import type { RateLimit } from "../credentials/rate-limit.ts";
import type { Scheme, SchemeContext } from "../credentials/scheme.ts";
import { AuthError, type RefusedSubject } from "../errors.ts";
import { isUuid } from "../uuid.ts";
import { isAddress, isWithin } from "./address-range.ts";
import type { Decision, Identity, Question } from "./decision.ts";
import { DecisionTrace, type HeldSecret, type Step, type Trace } from "./trace.ts";

/**
 * The one question: is there exactly one good credential in these headers, and is it good for this?
 *
 * Rejects with an AuthError and nothing else: a refusal with its reason, or UNAVAILABLE where Latchkey
 * itself failed. What is not a decision is neither a refusal nor an allowance. What it knows already it may answer,
 * or refuse, at once.
 */
export type Authenticate = (question: Question) => Decision | Promise<Decision>;

/** As Authenticate, with each step. It neither counts as a use of the key nor uses up its rate limit. */
export type Explain = (question: Question) => Promise<Explanation>;

export interface Explanation {
  readonly outcome: Decision | AuthError;
  /** What was looked at, in this order. The last one failed, where the outcome is a refusal. */
  readonly steps: readonly Step[];
}

/** Told of each use of a key, right or wrong; it must neither throw nor make the call wait. */
export interface UsageMeter {
  count(secret: HeldSecret, use: { readonly isAllowed: boolean; readonly clientAddress: string }): void;
}

export interface RateLimiter {
  /** @throws AuthError RATE_LIMITED, or UNAVAILABLE where it cannot be known. */
  take(keyId: string, limit: RateLimit): void;
}

export interface DecisionParts {
  readonly schemes: readonly Scheme[];
  readonly usageMeter: UsageMeter;
  readonly rateLimiter: RateLimiter;
}

export function createAuthenticate({ schemes, usageMeter, rateLimiter }: DecisionParts) {
  const decideWithinLimit = async (question: Question, trace: Trace): Promise<Decision> => {
    const decision = await decide(schemes, question, trace);
    if (decision.rateLimit !== undefined) {
      // Of an API key, whose tokens share it.
      rateLimiter.take(decision.principal.id, decision.rateLimit);
    }
    return decision;
  };

  return async (question: Question): Promise<Decision> => {
    const trace = new DecisionTrace(false);
    const count = (isAllowed: boolean) => {
      if (trace.secret !== undefined) {
        usageMeter.count(trace.secret, { isAllowed, clientAddress: question.clientAddress });
        trace.secret.onUse?.();
      }
    };
    try {
      const decision = await decideWithinLimit(question, trace).catch((thrown: unknown) => {
        if (thrown instanceof AuthError && thrown.reason !== "UNAVAILABLE") {
          count(false);
        }
        throw thrown;
      });
      count(true);
      return decision;
    } catch (thrown) {
      const error = asAuthError(thrown);
      error.subject ??= { ...trace.subject, clientAddress: question.clientAddress };
      throw error;
    }
  };
}

export function createExplain(schemes: readonly Scheme[]): Explain {
  return async (question) => {
    const trace = new DecisionTrace(true);
    const steps = trace.steps ?? [];
    try {
      return { outcome: await decide(schemes, question, trace), steps };
    } catch (thrown) {
      const error = asAuthError(thrown);
      if (error.reason === "UNAVAILABLE") {
        throw error;
      }
      error.subject ??= { ...trace.subject, clientAddress: question.clientAddress };
      return { outcome: error, steps };
    }
  };
}

function asAuthError(thrown: unknown): AuthError {
  return thrown instanceof AuthError ? thrown : new AuthError("UNAVAILABLE", { cause: thrown });
}

async function decide(schemes: readonly Scheme[], question: Question, trace: Trace): Promise<Decision> {
  trace.check("client_address", () => (question.clientAddress === "" ? "not told" : question.clientAddress));
  if (question.clientAddress !== "" && !isAddress(question.clientAddress)) {
    throw new AuthError("CLIENT_ADDRESS_INVALID");
  }
  trace.check("headers", () => `${question.headers.length} fields`);
  const headers = readCredentialHeaders(question.headers);
  trace.check("organization_named", () => "X-Org-Id and organization_id agree");
  const organizationId = namedOrganization(headers.organizationId, question);
  const identity = await identify(schemes, headers, {
    organizationId,
    callerOrganizationId: question.callerOrganizationId,
    audience: question.audience,
    trace,
  });
  trace.names(subjectOf(identity));
  requireOrganization(identity, organizationId, trace);
  requireAddress(identity.allowedCidrs, question.clientAddress, trace);
  requirePermissions(identity, question, trace);
  return { ...identity, stripHeaders: headers.strip };
}

/** Whom a decision is about, for the record of a refusal. */
export function subjectOf({ principal, organization, credential }: Identity): RefusedSubject {
  const { type, id } = principal;
  return { principal: { type, id }, organizationId: organization?.id, credentialId: credential.id };
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
  context: SchemeContext,
): Promise<Identity> {
  context.trace.check("credential", () =>
    credential === undefined ? "none" : `one, of the kind ${credential.kind}`,
  );
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

function requireOrganization({ organization }: Identity, named: string, trace: Trace): void {
  trace.check("organization", () => (named === "" ? "the credential's own" : "the one named"));
  if (organization?.suspended) {
    throw new AuthError("ORGANIZATION_SUSPENDED");
  }
  if (named !== "" && organization?.id !== named) {
    throw new AuthError("ORGANIZATION_MISMATCH");
  }
}

function requireAddress(allowedCidrs: readonly string[], clientAddress: string, trace: Trace): void {
  if (allowedCidrs.length === 0) {
    return;
  }
  trace.check("allowed_cidrs", () => "the credential is bound to addresses");
  if (clientAddress === "") {
    throw new AuthError("CLIENT_ADDRESS_REQUIRED");
  }
  if (!isWithin(clientAddress, allowedCidrs)) {
    throw new AuthError("CLIENT_ADDRESS_DENIED");
  }
}

function requirePermissions(
  { permissions, catalogue }: Identity,
  { requiredPermissions, anyPermissions }: Question,
  trace: Trace,
): void {
  if (requiredPermissions.length + anyPermissions.length === 0) {
    return;
  }
  trace.check("permissions", () => `${permissions.size} held`);
  const known = (name: string) => catalogue.organization.includes(name) || catalogue.platform.includes(name);
  const unknown = [...requiredPermissions, ...anyPermissions].filter((name) => !known(name));
  if (unknown.length > 0) {
    throw new AuthError("PERMISSION_UNKNOWN", { metadata: { unknown: unknown.join(" ") } });
  }
  const missing = requiredPermissions.filter((name) => !permissions.has(name));
  if (missing.length > 0) {
    throw new AuthError("PERMISSION_DENIED", { metadata: { missing: missing.join(" ") } });
  }
  if (anyPermissions.length > 0 && !anyPermissions.some((name) => permissions.has(name))) {
    throw new AuthError("PERMISSION_DENIED", { metadata: { missing_any: anyPermissions.join(" ") } });
  }
}
