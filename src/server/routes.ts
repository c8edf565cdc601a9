import { createValidator } from "@bufbuild/protovalidate";
import type { ConnectRouter } from "@connectrpc/connect";
import { createValidateInterceptor } from "@connectrpc/validate";
import type { Logger } from "pino";
import type { AuditKeys } from "../audit/audit-keys.ts";
import { AuditServiceImpl } from "../audit/audit-service.ts";
import type { RefusalRecorder } from "../audit/refusal-recorder.ts";
import type { Explain } from "../authenticate/authenticate.ts";
import { AuthenticationServiceImpl } from "../authenticate/authentication-service.ts";
import type { RevocationWatch } from "../authenticate/watch-revocations.ts";
import { createIdempotently } from "../changes/idempotent-service.ts";
import type { Tag } from "../changes/mutate.ts";
import type { Once } from "../changes/once.ts";
import { createBrowserSessions } from "../credentials/access-token/browser-session.ts";
import { TokenServiceImpl, type TokenServiceParts } from "../credentials/access-token/token-service.ts";
import { ApiKeyServiceImpl } from "../credentials/api-key/api-key-service.ts";
import type { ImportedKeys } from "../credentials/imported-key/imported-keys.ts";
import type { ForeignTexts } from "../credentials/imported-key/key-format.ts";
import type { KeyHasher } from "../credentials/key-digest.ts";
import { ServiceKeyServiceImpl } from "../credentials/service-key/service-key-service.ts";
import type { SigningAlgorithm } from "../credentials/signing-key/new-signing-key.ts";
import { SigningKeyServiceImpl } from "../credentials/signing-key/signing-key-service.ts";
import { file_google_rpc_error_details } from "../gen/google/rpc/error_details_pb.ts";
import { ApiKeyService } from "../gen/latchkey/v1/api_key_pb.ts";
import { AuditService } from "../gen/latchkey/v1/audit_pb.ts";
import { AuthenticationService } from "../gen/latchkey/v1/authentication_pb.ts";
import { OrganizationService } from "../gen/latchkey/v1/organization_pb.ts";
import { file_latchkey_v1_reason } from "../gen/latchkey/v1/reason_pb.ts";
import { RoleService } from "../gen/latchkey/v1/role_pb.ts";
import { ServiceKeyService } from "../gen/latchkey/v1/service_key_pb.ts";
import { SigningKeyService } from "../gen/latchkey/v1/signing_key_pb.ts";
import { TokenService } from "../gen/latchkey/v1/token_pb.ts";
import { UserService } from "../gen/latchkey/v1/user_pb.ts";
import { type HealthStatus, healthRoutes } from "../grpc-health/index.ts";
import { reflectionRoutes } from "../grpc-reflection/index.ts";
import { OrganizationServiceImpl } from "../organizations/organization-service.ts";
import { RoleServiceImpl } from "../permissions/role-service.ts";
import type { Pager } from "../storage/page.ts";
import type { Seal } from "../storage/seal.ts";
import type { PasswordPolicy } from "../users/password-policy.ts";
import { UserServiceImpl } from "../users/user-service.ts";
import { type AccessParts, createAccessInterceptor } from "./access-interceptor.ts";
import { createAuditInterceptor, createNoteError } from "./audit-interceptor.ts";
import { actorOf, callerOf, contextValuesOf, peerAddressOf, rawHeadersOf, readmit } from "./call-context.ts";
import { createCallLogInterceptor, createRefusalLog } from "./call-log-interceptor.ts";
import { createCancellationInterceptor } from "./cancellation-interceptor.ts";
import { createCanonicalIdsInterceptor } from "./canonical-ids-interceptor.ts";
import { withCors } from "./cors.ts";
import { createErrorInterceptor } from "./error-interceptor.ts";
import { type HttpPages, servePage } from "./http-pages.ts";
import { createServeLarge } from "./large-messages.ts";
import type { NodeHandler } from "./node-handler.ts";
import { createRevisionInterceptor } from "./revision-interceptor.ts";
import { wireAdapter } from "./wire-adapter.ts";

/** One message, as it is sent and as it is decompressed; but see large-messages.ts. */
export const MOST_MESSAGE_BYTES = 64 * 1024;

/** Latchkey's own services. */
export const SERVICES = [
  AuthenticationService,
  TokenService,
  ApiKeyService,
  OrganizationService,
  UserService,
  RoleService,
  ServiceKeyService,
  SigningKeyService,
  AuditService,
];

export interface RouteParts
  extends AccessParts,
    Omit<TokenServiceParts, "actorOf" | "browserSessions" | "peerAddressOf" | "rawHeadersOf"> {
  readonly passwordPolicy: PasswordPolicy;
  readonly explain: Explain;
  readonly revocations: RevocationWatch;
  /** Up to where changes are taken into account. */
  readonly revision: () => string;
  readonly cacheTag: (tag: Tag) => string;
  /** Which history of the database transactions are of; undefined while it is not known. */
  readonly epochOf: () => string | undefined;
  readonly once: Once;
  readonly pager: Pager;
  readonly seal: Seal;
  readonly auditKeys: AuditKeys;
  readonly refusals: Pick<RefusalRecorder, "note">;
  readonly keyHasher: KeyHasher;
  readonly foreignTexts: ForeignTexts;
  readonly importedKeys: ImportedKeys;
  readonly apiKeyPrefix: string;
  readonly signingAlgorithm: SigningAlgorithm;
  readonly health: HealthStatus;
  readonly pages: HttpPages;
  /** The origins whose pages may call from a browser. */
  readonly corsOrigins: ReadonlySet<string>;
  /** Aborted when streams have to end. */
  readonly shutdownSignal: AbortSignal;
  readonly log: Logger;
}

/** Everything that the port answers. */
export function createHandler(parts: RouteParts): NodeHandler {
  const idempotently = createIdempotently({ ...parts, actorOf });
  const pages = new Set([...parts.corsOrigins, new URL(parts.issuer).origin]);
  const shared = {
    ...parts,
    actorOf,
    callerOf,
    peerAddressOf,
    rawHeadersOf,
    readmit,
    noteError: createNoteError(parts.refusals),
    idempotently,
    browserSessions: createBrowserSessions(pages),
    prefix: parts.apiKeyPrefix,
  };

  const serveLarge = createServeLarge(parts);

  const routes = (router: ConnectRouter) => {
    const authentication = new AuthenticationServiceImpl(shared);
    router.service(AuthenticationService, authentication);
    const { batchAuthenticate } = AuthenticationService.method;
    serveLarge(router, batchAuthenticate, authentication.batchAuthenticate.bind(authentication));
    router.service(TokenService, new TokenServiceImpl(shared));
    const apiKeys = new ApiKeyServiceImpl(shared);
    router.service(ApiKeyService, apiKeys);
    serveLarge(router, ApiKeyService.method.importApiKeys, apiKeys.importApiKeys.bind(apiKeys));
    router.service(OrganizationService, new OrganizationServiceImpl(shared));
    const users = new UserServiceImpl(shared);
    router.service(UserService, users);
    serveLarge(router, UserService.method.importUsers, users.importUsers.bind(users));
    router.service(RoleService, new RoleServiceImpl(shared));
    router.service(ServiceKeyService, new ServiceKeyServiceImpl(shared));
    router.service(SigningKeyService, new SigningKeyServiceImpl(shared));
    router.service(AuditService, new AuditServiceImpl(shared));
    healthRoutes(parts.health)(router);
    // Last: it tells of everything that is served, and of what errors carry.
    const served = router.handlers.map(({ service }) => service);
    reflectionRoutes(served, [file_latchkey_v1_reason, file_google_rpc_error_details])(router);
  };

  const handler = wireAdapter({
    routes,
    // The outermost first: every call is logged, what the others throw is translated, and nobody's message
    // is looked at before it is known that they may send it.
    interceptors: [
      createCallLogInterceptor(parts.log),
      createErrorInterceptor(),
      createAuditInterceptor(parts.refusals),
      createCancellationInterceptor(parts.shutdownSignal),
      createCanonicalIdsInterceptor(),
      createAccessInterceptor(parts),
      createRevisionInterceptor(parts.epochOf),
      // The first fault is enough: a message can be made to hold thousands of them.
      createValidateInterceptor({ validator: createValidator({ failFast: true }) }),
    ],
    contextValues: contextValuesOf,
    onRefused: createRefusalLog(parts.log),
    fallback: (request, response) => {
      servePage(parts.pages, request, response).catch((error: unknown) => {
        parts.log.error({ err: error }, "a page failed");
        response.destroy();
      });
    },
    readMaxBytes: MOST_MESSAGE_BYTES,
    // An unknown field is a misspelt one, or one that this version would silently leave out.
    jsonOptions: { ignoreUnknownFields: false },
    shutdownSignal: parts.shutdownSignal,
  });
  return withCors(parts.corsOrigins, handler);
}
