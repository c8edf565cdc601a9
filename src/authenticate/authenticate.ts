import { readCredentialHeaders } from "../credentials/credential-headers.ts";
import type { RateLimit } from "../credentials/rate-limit.ts";
import { AuthError } from "../errors.ts";
import { isUuid } from "../uuid.ts";
import { isAddress, isWithin } from "./address-range.ts";
import type { Decision, Identity, Question } from "./decision.ts";
import { type Disproof, endMillis, identityAt, type Proof } from "./proof.ts";
import type { Prove } from "./prove.ts";
import { DecisionTrace, type HeldSecret, type Step, type Trace } from "./trace.ts";

/**
 * The one question: is there exactly one good credential in these headers, and is it good for this?
 *
 * What is remembered is answered at once, what is not by a promise. Throws, or rejects with, an AuthError and nothing
 * else: a refusal with its reason, or UNAVAILABLE where Latchkey itself failed. What is not a decision is neither a
 * refusal nor an allowance.
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
  readonly proofs: Proofs;
  /** Waits until a revision is taken into account. */
  readonly reach: (revision: string) => Promise<void>;
  readonly usageMeter: UsageMeter;
  readonly rateLimiter: RateLimiter;
}

/** Where proofs come from. */
export interface Proofs {
  readonly prove: Prove;
  /** The database's time when a proof is used, in milliseconds since the epoch. */
  nowFor(proof: Proof): number;
}

/** Proofs that are asked for each time. */
export function freshProofs(prove: Prove): Proofs {
  return { prove, nowFor: ({ readMillis }) => readMillis };
}

export function createAuthenticate({ proofs, reach, usageMeter, rateLimiter }: DecisionParts): Authenticate {
  const count = ({ secret }: DecisionTrace, { clientAddress }: Question, isAllowed: boolean) => {
    if (secret !== undefined) {
      usageMeter.count(secret, { isAllowed, clientAddress });
      secret.onUse?.();
    }
  };
  const countRefusal = (thrown: unknown, question: Question, trace: DecisionTrace): AuthError => {
    const error = asAuthError(thrown);
    try {
      if (error.reason !== "UNAVAILABLE") {
        count(trace, question, false);
      }
      return error;
    } catch (fault) {
      return asAuthError(fault);
    }
  };
  const refuse = (thrown: unknown, question: Question, trace: DecisionTrace): AuthError => {
    const error = countRefusal(thrown, question, trace);
    error.subject ??= { ...trace.subject, clientAddress: question.clientAddress };
    return error;
  };
  const allow = (decision: Decision, question: Question, trace: DecisionTrace): Decision => {
    if (decision.rateLimit !== undefined) {
      // Of an API key, whose tokens share it.
      rateLimiter.take(decision.principal.id, decision.rateLimit);
    }
    count(trace, question, true);
    return decision;
  };
  const decideAfter = async (question: Question, trace: DecisionTrace) => {
    await reach(question.minRevision);
    return await decide(proofs, question, trace);
  };

  return (question) => {
    const trace = new DecisionTrace(false);
    try {
      const decision =
        question.minRevision === "" ? decide(proofs, question, trace) : decideAfter(question, trace);
      if (!(decision instanceof Promise)) {
        return allow(decision, question, trace);
      }
      return decision
        .then((decided) => allow(decided, question, trace))
        .catch((thrown: unknown) => {
          throw refuse(thrown, question, trace);
        });
    } catch (thrown) {
      throw refuse(thrown, question, trace);
    }
  };
}

/** @param prove asks the database each time: what is told is what is true, not what is remembered. */
export function createExplain(prove: Prove, reach: DecisionParts["reach"]): Explain {
  const proofs = freshProofs(prove);
  return async (question) => {
    const trace = new DecisionTrace(true);
    const steps = trace.steps ?? [];
    try {
      if (question.minRevision !== "") {
        await reach(question.minRevision);
      }
      return { outcome: await decide(proofs, question, trace), steps };
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

/** What was thrown, if it is a refusal or a fault that is told; else a fault. */
export function asAuthError(thrown: unknown): AuthError {
  return thrown instanceof AuthError ? thrown : new AuthError("UNAVAILABLE", { cause: thrown });
}

function decide(proofs: Proofs, question: Question, trace: Trace): Decision | Promise<Decision> {
  trace.check("client_address", () => (question.clientAddress === "" ? "not told" : question.clientAddress));
  if (question.clientAddress !== "" && !isAddress(question.clientAddress)) {
    throw new AuthError("CLIENT_ADDRESS_INVALID");
  }
  trace.check("headers", () => `${question.headers.length} fields`);
  const { credential, ...headers } = readCredentialHeaders(question.headers);
  trace.check("organization_named", () => "X-Org-Id and organization_id agree");
  const organizationId = namedOrganization(headers.organizationId, question);
  trace.check("credential", () =>
    credential === undefined ? "none" : `one, of the kind ${credential.kind}`,
  );
  if (credential === undefined) {
    throw new AuthError("CREDENTIAL_MISSING");
  }
  const decideBy = (proof: Proof | Disproof): Decision => {
    if ("disproved" in proof) {
      throw new AuthError(proof.disproved);
    }
    const identity = identityAt(proof, proofs.nowFor(proof), question.callerOrganizationId, trace);
    requireOrganization(identity, organizationId, trace);
    requireAddress(identity.allowedCidrs, question.clientAddress, trace);
    requirePermissions(identity, question, trace);
    return decisionOf(proof, headers.strip);
  };
  const proof = proofs.prove(credential, { organizationId, audience: question.audience, trace });
  return proof instanceof Promise ? proof.then(decideBy) : decideBy(proof);
}

/** The same one for the same proof and headers to remove: whoever makes answers of it can keep them with it. */
function decisionOf(proof: Proof, stripHeaders: readonly string[]): Decision {
  if (proof.decision?.stripHeaders !== stripHeaders) {
    const { identity, tags, ends } = proof;
    const millis = Math.min(
      ...ends.map(({ atMillis }) => atMillis),
      endMillis(identity.credential.expireTime),
    );
    const endTime = millis === Infinity ? undefined : new Date(millis);
    proof.decision = { ...identity, stripHeaders, tags, endTime };
  }
  return proof.decision;
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
  const holds = (name: string) => permissions.has(name);
  if (requiredPermissions.every(holds) && anyPermissions.every(holds)) {
    return;
  }
  const known = new Set([...catalogue.organization, ...catalogue.platform]);
  const unknown = [...requiredPermissions, ...anyPermissions].filter((name) => !known.has(name));
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
