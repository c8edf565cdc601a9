import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { timestampFromDate } from "@bufbuild/protobuf/wkt";
import type { HandlerContext, ServiceImpl } from "@connectrpc/connect";
import { AuthError } from "../errors.ts";
import {
  type AuthenticateRequest,
  type AuthenticateResponse,
  AuthenticateResponseSchema,
  type AuthenticationService,
  CredentialType,
  type ExplainRequest,
  type ExplainResponse,
  ExplainResponseSchema,
  PrincipalType,
  type WhoAmIRequest,
  type WhoAmIResponse,
  WhoAmIResponseSchema,
} from "../gen/latchkey/v1/authentication_pb.ts";
import { organizationMessage } from "../organizations/organization-service.ts";
import type { Actor } from "./actor.ts";
import type { Authenticate, Explain } from "./authenticate.ts";
import { type Credential, type Decision, delegateOf, type Principal, type Question } from "./decision.ts";

export class AuthenticationServiceImpl implements ServiceImpl<typeof AuthenticationService> {
  readonly #authenticate: Authenticate;
  readonly #explain: Explain;
  readonly #actorOf: (context: HandlerContext) => Actor;
  readonly #callerOf: (context: HandlerContext) => Actor | undefined;
  readonly #revision: () => string;

  constructor(parts: {
    readonly authenticate: Authenticate;
    readonly explain: Explain;
    readonly actorOf: (context: HandlerContext) => Actor;
    readonly callerOf: (context: HandlerContext) => Actor | undefined;
    /** Up to where changes are taken into account. */
    readonly revision: () => string;
  }) {
    this.#authenticate = parts.authenticate;
    this.#explain = parts.explain;
    this.#actorOf = parts.actorOf;
    this.#callerOf = parts.callerOf;
    this.#revision = parts.revision;
  }

  async authenticate(request: AuthenticateRequest, context: HandlerContext): Promise<AuthenticateResponse> {
    const decision = await this.#authenticate(questionOf(request, this.#callerOf(context)));
    return answerMessage(decision, this.#revision());
  }

  async explain({ request }: ExplainRequest, context: HandlerContext): Promise<ExplainResponse> {
    if (request === undefined) {
      throw new Error("the rules of the message require a request");
    }
    const { outcome, steps } = await this.#explain(questionOf(request, this.#actorOf(context)));
    const isRefusal = outcome instanceof AuthError;
    return create(ExplainResponseSchema, {
      allowed: !isRefusal,
      ...(isRefusal
        ? { reason: outcome.reason, message: outcome.message, metadata: { ...outcome.metadata } }
        : { response: answerMessage(outcome, this.#revision()) }),
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
}

/** What a request asks on behalf of whoever calls. */
export function questionOf(
  request: Omit<Question, "callerOrganizationId">,
  caller: Actor | undefined,
): Question {
  return { ...request, callerOrganizationId: caller?.organizationId ?? "" };
}

function answerMessage(decision: Decision, revision: string): AuthenticateResponse {
  return create(AuthenticateResponseSchema, { ...answerHead(decision), revision, ...answerTail(decision) });
}

type AnswerFields = Omit<
  Exclude<MessageInitShape<typeof AuthenticateResponseSchema>, AuthenticateResponse>,
  "$typeName"
>;

/** The fields of an answer that come before the `revision`: like those after it, they are as lasting as the decision. */
export function answerHead(decision: Decision): AnswerFields {
  return { ...decisionMessage(decision), stripHeaders: [...decision.stripHeaders] };
}

/** The fields that come after it. */
export function answerTail({ cacheTags = [], cacheExpireTime }: Decision): AnswerFields {
  return {
    cacheTags: [...cacheTags],
    ...(cacheExpireTime && { cacheExpireTime: timestampFromDate(cacheExpireTime) }),
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
