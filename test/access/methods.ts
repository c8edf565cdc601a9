import { randomBytes } from "node:crypto";
import { create, type DescMethod, type DescService, isMessage, type Message } from "@bufbuild/protobuf";
import { reflect } from "@bufbuild/protobuf/reflect";
import { type Client, ConnectError, createClient } from "@connectrpc/connect";
import { v4 as uuidv4 } from "uuid";
import { ErrorInfoSchema } from "../../src/gen/google/rpc/error_details_pb.ts";
import { PermissionScope } from "../../src/gen/latchkey/v1/access_pb.ts";
import { ImportMode, KeyAlphabet, KeyHashAlgorithm } from "../../src/gen/latchkey/v1/api_key_pb.ts";
import { BatchAuthenticateResponseSchema } from "../../src/gen/latchkey/v1/authentication_pb.ts";
import { Health } from "../../src/grpc-health/gen/grpc/health/v1/health_pb.ts";
import { ServerReflection } from "../../src/grpc-reflection/gen/grpc/reflection/v1/reflection_pb.ts";
import { ServerReflection as ServerReflectionAlpha } from "../../src/grpc-reflection/gen/grpc/reflection/v1alpha/reflection_pb.ts";
import { accessRuleOf } from "../../src/server/access-rules.ts";
import { SERVICES } from "../../src/server/routes.ts";
import { transportTo } from "../support/service.ts";
import type { Headers, World } from "./actors.ts";

/** Every service that is served. */
export const EVERY_SERVICE: readonly DescService[] = [
  ...SERVICES,
  Health,
  ServerReflection,
  ServerReflectionAlpha,
];

export const EVERY_METHOD: readonly DescMethod[] = EVERY_SERVICE.flatMap(({ methods }) => methods);

/** How the tables name a method: the two versions of reflection have the same names. */
export function nameOf(method: DescMethod): string {
  return method.parent === ServerReflectionAlpha ? `${method.name}(v1alpha)` : method.name;
}

/** What a good call says, besides the `id` and the `organization_id` that it may name. */
export function requestOf(method: DescMethod, world: World): Record<string, unknown> {
  const { password, missing, acme, changing, spareApiKey } = world;
  const { email } = acme.member;
  const requests: Record<string, Record<string, unknown>> = {
    Authenticate: {},
    BatchAuthenticate: {},
    WatchRevocations: {},
    Explain: {},
    WhoAmI: {},
    IssueToken: { grant: { case: "password", value: { email, password: password.text } } },
    RevokeToken: { target: { case: "token", value: missing } },
    ListSessions: {},
    // What is granted is what the rule asks for: whoever may call holds it.
    CreateApiKey: { name: "made", permissions: ["auth.api_keys.write"] },
    GetApiKey: {},
    ListApiKeys: {},
    UpdateApiKey: { name: "renamed" },
    RotateApiKey: { overlap: { seconds: 60n } },
    CancelRotation: {},
    FinishRotation: {},
    RevokeApiKey: { reason: "test" },
    RevokeOwnApiKey: { apiKey: spareApiKey, reason: "test" },
    ImportApiKeys: {
      format: { prefix: "old_", length: 40, alphabet: KeyAlphabet.BASE62 },
      hashing: { algorithm: KeyHashAlgorithm.SHA256 },
      keys: [{ name: "imported", permissions: ["calls.read"], hash: randomBytes(32) }],
      mode: ImportMode.BEST_EFFORT,
    },
    GetApiKeyUsage: {},
    CreateOrganization: { name: `org ${uuidv4()}` },
    GetOrganization: {},
    ListOrganizations: {},
    UpdateOrganization: { suspended: false },
    // Of another name than any: whoever may call deletes nothing.
    DeleteOrganization: { name: "no organization's" },
    CreateUser: { email: `${uuidv4()}@people.test`, role: "viewer", password: password.text },
    GetUser: {},
    ListUsers: {},
    UpdateUser: { disabled: false },
    RemoveMembership: {},
    ImportUsers: {
      users: [
        { email: `${uuidv4()}@people.test`, organizationId: acme.id, role: "viewer", passwordHash: "" },
      ],
      mode: ImportMode.BEST_EFFORT,
    },
    CreateRole: { name: `role-${uuidv4().slice(0, 8)}`, permissions: { values: ["auth.roles.write"] } },
    ListRoles: {},
    UpdateRole: { name: `role-${uuidv4().slice(0, 8)}` },
    DeleteRole: {},
    ListPermissions: {},
    DefinePermission: {
      name: `test.p${uuidv4().slice(0, 8)}`,
      scope: PermissionScope.ORGANIZATION,
      description: "test",
    },
    ChangePassword: {
      email: changing.email,
      currentPassword: changing.passwords[0],
      newPassword: changing.passwords[1],
    },
    // Refused for everybody: it takes an invitation, and uses it up.
    AcceptMembership: { email: "nobody@people.test", invitation: "in_none", password: password.text },
    ResetPassword: {},
    DeleteUser: {},
    ListMemberships: {},
    CreateServiceKey: { name: uuidv4(), permissions: ["platform.service_keys.write"] },
    ListServiceKeys: {},
    GetServiceKey: {},
    UpdateServiceKey: { permissions: { values: ["platform.service_keys.write"] } },
    RotateServiceKey: { overlap: { seconds: 60n } },
    CancelServiceKeyRotation: {},
    FinishServiceKeyRotation: {},
    GetServiceKeyUsage: {},
    RevokeServiceKey: { reason: "test" },
    ListSigningKeys: {},
    RotateSigningKey: {},
    RevokeSigningKey: { reason: "test" },
    ListAuditEvents: {},
    VerifyAuditLog: {},
    ListAuditCheckpoints: {},
    Check: {},
    List: {},
    Watch: {},
    ServerReflectionInfo: { messageRequest: { case: "listServices", value: "" } },
  };
  if (method.name === "ChangePassword") {
    // The rule allows it to everybody, so it is carried out.
    changing.passwords.reverse();
  }
  const request = requests[method.name];
  if (request === undefined) {
    throw new Error(`test/access/methods.ts does not say what a good ${method.name} is`);
  }
  return request;
}

/** Whether a request holds a credential that is proof enough, whoever sends it. */
export function isProof(method: DescMethod, request: Record<string, unknown>): boolean {
  const rule = accessRuleOf(method);
  const fields = rule.kind === "permission" ? rule.possessionFields : [];
  const message = reflect(method.input, create(method.input, request as never));
  return method.input.fields.some((field) => fields.includes(field.name) && message.isSet(field));
}

/** Good calls that ask who sends them, of the methods whose good call is a proof. */
export function unprovenRequestsOf(method: DescMethod, { acme }: World): Record<string, unknown>[] {
  switch (method.name) {
    case "IssueToken":
      return [{ grant: { case: "delegation", value: { userId: acme.member.id } } }];
    case "RevokeToken":
      return [
        { target: { case: "sessionId", value: acme.sessionId } },
        { target: { case: "userId", value: acme.member.id } },
      ];
    default:
      return [];
  }
}

export interface Outcome {
  /** Undefined: the call was allowed. */
  readonly reason: string | undefined;
  readonly callerReason: string | undefined;
  /** The answer as text. */
  readonly answer: string;
}

/** Makes one call of any kind. Of a stream, the first message is what counts; of a batch, the first result. */
export async function callMethod(
  url: string,
  method: DescMethod,
  headers: Headers,
  request: Record<string, unknown>,
): Promise<Outcome> {
  const http2 = method.methodKind !== "unary";
  const transport = transportTo(url, http2 ? "grpc" : "connect json", http2 ? "2" : "1.1", headers);
  const client: Client<DescService> = createClient(method.parent, transport);
  const abort = new AbortController();
  const message: Message = create(method.input, request as never);
  try {
    const call = client[method.localName] as unknown as (
      input: unknown,
      options: object,
    ) => Promise<unknown> | AsyncIterable<unknown>;
    const input = method.methodKind === "bidi_streaming" ? once(message) : message;
    const result = call(input, { signal: abort.signal });
    const answer = Symbol.asyncIterator in result ? await first(result) : await result;
    return { reason: reasonIn(answer), callerReason: undefined, answer: JSON.stringify(answer, withBigints) };
  } catch (thrown) {
    const error = ConnectError.from(thrown);
    const [info] = error.findDetails(ErrorInfoSchema);
    return {
      reason: info?.reason ?? `no reason: ${error.message}`,
      callerReason: info?.metadata["caller_reason"],
      answer: error.message,
    };
  } finally {
    abort.abort();
  }
}

function reasonIn(answer: unknown): string | undefined {
  const outcome = isMessage(answer, BatchAuthenticateResponseSchema) ? answer.results[0]?.outcome : undefined;
  return outcome?.case === "error" ? outcome.value.reason : undefined;
}

async function* once<Value>(value: Value): AsyncIterable<Value> {
  yield value;
}

async function first<Value>(values: AsyncIterable<Value>): Promise<Value> {
  for await (const value of values) {
    return value;
  }
  throw new Error("the stream ended without a message");
}

function withBigints(_name: string, value: unknown): unknown {
  return typeof value === "bigint" ? String(value) : value;
}
