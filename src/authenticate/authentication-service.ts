import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { durationFromMs, timestampFromDate } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError, type HandlerContext, type ServiceImpl } from "@connectrpc/connect";
import type { Tag } from "../changes/mutate.ts";
import { errorFacts } from "../error-facts.ts";
import { AuthError } from "../errors.ts";
import {
  type AuthenticateRequest,
  type AuthenticateResponse,
  AuthenticateResponseSchema,
  type AuthenticateResult,
  AuthenticateResultSchema,
  type AuthenticationService,
  type BatchAuthenticateRequest,
  type BatchAuthenticateResponse,
  BatchAuthenticateResponseSchema,
  CredentialType,
  type ExplainRequest,
  type ExplainResponse,
  ExplainResponseSchema,
  PrincipalType,
  type WatchRevocationsRequest,
  type WatchRevocationsResponse,
  WatchRevocationsResponseSchema,
  type WhoAmIRequest,
  type WhoAmIResponse,
  WhoAmIResponseSchema,
} from "../gen/latchkey/v1/authentication_pb.ts";
import { organizationMessage } from "../organizations/organization-service.ts";
import type { Actor } from "./actor.ts";
import type { Authenticate, Explain } from "./authenticate.ts";
import { type AuthenticateAll, createAuthenticateAll } from "./authenticate-all.ts";
import { type Credential, type Decision, delegateOf, type Principal, type Question } from "./decision.ts";
import type { RevocationWatch } from "./watch-revocations.ts";

export class AuthenticationServiceImpl implements ServiceImpl<typeof AuthenticationService> {
  readonly #authenticate: Authenticate;
  readonly #authenticateAll: AuthenticateAll;
  readonly #explain: Explain;
  readonly #actorOf: (context: HandlerContext) => Actor;
  readonly #callerOf: (context: HandlerContext) => Actor | undefined;
  readonly #revocations: RevocationWatch;
  readonly #readmit: (context: HandlerContext) => Promise<void>;
  readonly #shutdownSignal: AbortSignal;
  readonly #revision: () => string;
  readonly #cacheTag: (tag: Tag) => string;
  readonly #noteError: (context: HandlerContext, error: AuthError) => void;

  constructor(parts: {
    readonly authenticate: Authenticate;
    readonly explain: Explain;
    readonly actorOf: (context: HandlerContext) => Actor;
    readonly callerOf: (context: HandlerContext) => Actor | undefined;
    readonly revocations: RevocationWatch;
    readonly readmit: (context: HandlerContext) => Promise<void>;
    readonly shutdownSignal: AbortSignal;
    /** Up to where changes are taken into account by whatever is decided from now on. */
    readonly revision: () => string;
    readonly cacheTag: (tag: Tag) => string;
    /** Told of each error that is part of an answer. */
    readonly noteError: (context: HandlerContext, error: AuthError) => void;
  }) {
    this.#authenticate = parts.authenticate;
    this.#authenticateAll = createAuthenticateAll(parts.authenticate);
    this.#explain = parts.explain;
    this.#actorOf = parts.actorOf;
    this.#callerOf = parts.callerOf;
    this.#revocations = parts.revocations;
    this.#readmit = parts.readmit;
    this.#shutdownSignal = parts.shutdownSignal;
    this.#revision = parts.revision;
    this.#cacheTag = parts.cacheTag;
    this.#noteError = parts.noteError;
  }

  async authenticate(request: AuthenticateRequest, context: HandlerContext): Promise<AuthenticateResponse> {
    const revision = this.#revision();
    const decision = await this.#authenticate(questionOf(request, this.#callerOf(context)));
    return this.#answer(decision, revision);
  }

  async *watchRevocations(
    { revision }: WatchRevocationsRequest,
    context: HandlerContext,
  ): AsyncGenerator<WatchRevocationsResponse> {
    const { signal } = context;
    const isAdmitted = () => this.#readmit(context);
    for await (const message of this.#revocations.watch(revision, isAdmitted, signal)) {
      yield create(WatchRevocationsResponseSchema, { ...message, cacheTags: [...message.cacheTags] });
    }
    // At the end of the service a stream ends well: its client goes elsewhere.
    if (signal.aborted && !this.#shutdownSignal.aborted) {
      throw ConnectError.from(signal.reason, Code.Canceled);
    }
  }

  async batchAuthenticate(
    { requests }: BatchAuthenticateRequest,
    context: HandlerContext,
  ): Promise<BatchAuthenticateResponse> {
    const caller = this.#callerOf(context);
    const questions = requests.map((request) => questionOf(request, caller));
    const revision = this.#revision();
    const results = await this.#authenticateAll(questions, (outcome) => {
      if (outcome instanceof AuthError) {
        this.#noteError(context, outcome);
        return errorResult(outcome);
      }
      const value = this.#answer(outcome, revision);
      return create(AuthenticateResultSchema, { outcome: { case: "response", value } });
    });
    return create(BatchAuthenticateResponseSchema, { results });
  }

  async explain({ request }: ExplainRequest, context: HandlerContext): Promise<ExplainResponse> {
    if (request === undefined) {
      throw new Error("the rules of the message require a request");
    }
    const revision = this.#revision();
    const { outcome, steps } = await this.#explain(questionOf(request, this.#actorOf(context)));
    const isRefusal = outcome instanceof AuthError;
    return create(ExplainResponseSchema, {
      allowed: !isRefusal,
      ...(isRefusal
        ? { reason: outcome.reason, message: outcome.message, metadata: { ...outcome.metadata } }
        : { response: this.#answer(outcome, revision) }),
      steps: steps.map(({ name, detail }, at) => ({
        name,
        detail,
        passed: !isRefusal || at < steps.length - 1,
      })),
    });
  }

  whoAmI(_request: WhoAmIRequest, context: HandlerContext): WhoAmIResponse {
    return create(WhoAmIResponseSchema, decisionMessage(this.#actorOf(context).decision));
  }

  #answer(decision: Decision, revision: string): AuthenticateResponse {
    return create(AuthenticateResponseSchema, {
      ...answerHead(decision),
      revision,
      ...answerTail(decision, this.#cacheTag),
    });
  }
}

/** What a request asks on behalf of whoever calls. */
export function questionOf(
  request: Omit<Question, "callerOrganizationId">,
  caller: Actor | undefined,
): Question {
  return { ...request, callerOrganizationId: caller?.organizationId ?? "" };
}

/** What a batch tells of one question that it could not allow. */
export function errorResult(error: AuthError): AuthenticateResult {
  const { code, reason, message, metadata, retryAfterMillis } = errorFacts(error);
  const retryDelay = retryAfterMillis === undefined ? undefined : durationFromMs(retryAfterMillis);
  const value = { code, reason, message, metadata, ...(retryDelay && { retryDelay }) };
  return create(AuthenticateResultSchema, { outcome: { case: "error", value } });
}

type AnswerFields = Omit<
  Exclude<MessageInitShape<typeof AuthenticateResponseSchema>, AuthenticateResponse>,
  "$typeName"
>;

/** The fields of an answer that come before the `revision`: like those after it, they are as lasting as the decision. */
export function answerHead(decision: Decision): AnswerFields {
  return { ...decisionMessage(decision), stripHeaders: [...decision.stripHeaders] };
}

/** The fields that come after it. Each use of a key with a rate limit is to be counted: its answers are not kept. */
export function answerTail(
  { tags, endTime, rateLimit }: Decision,
  cacheTag: (tag: Tag) => string,
): AnswerFields {
  return {
    cacheTags: rateLimit === undefined ? tags.map(cacheTag) : [],
    ...(endTime && { cacheExpireTime: timestampFromDate(endTime) }),
  };
}

function decisionMessage(decision: Decision) {
  const { organization } = decision;
  const delegate = delegateOf(decision);
  return {
    principal: principalMessage(decision.principal),
    ...(organization && { organization: organizationMessage(organization) }),
    permissions: [...decision.permissions].sort(),
    allOrganizations: organization === undefined,
    credential: credentialMessage(decision.credential),
    ...(delegate && { delegatedBy: principalMessage({ ...delegate, email: "", role: "" }) }),
  };
}

const PRINCIPAL_TYPES = {
  user: PrincipalType.USER,
  api_key: PrincipalType.API_KEY,
  service: PrincipalType.SERVICE,
} as const;

const CREDENTIAL_TYPES = {
  api_key: CredentialType.API_KEY,
  access_token: CredentialType.ACCESS_TOKEN,
  service_key: CredentialType.SERVICE_KEY,
} as const;

function principalMessage(principal: Principal) {
  return { ...principal, type: PRINCIPAL_TYPES[principal.type] };
}

function credentialMessage({ id, type, expireTime }: Credential) {
  return {
    id,
    type: CREDENTIAL_TYPES[type],
    ...(expireTime && { expireTime: timestampFromDate(expireTime) }),
  };
}
