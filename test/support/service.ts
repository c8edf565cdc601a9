import { randomBytes } from "node:crypto";
import type { DescService } from "@bufbuild/protobuf";
import { type Client, createClient, type Interceptor, type Transport } from "@connectrpc/connect";
import {
  createConnectTransport,
  createGrpcTransport,
  createGrpcWebTransport,
} from "@connectrpc/connect-node";
import { v7 as uuidv7 } from "uuid";
import { type AppSettings, buildApp, type Core, openCore } from "../../src/app.ts";
import type { Hearing } from "../../src/changes/change-feed.ts";
import { EVERYTHING } from "../../src/changes/feed-position.ts";
import { insertApiKey } from "../../src/credentials/api-key/create-api-key.ts";
import { mintKey } from "../../src/credentials/secret-key.ts";
import { insertServiceKey } from "../../src/credentials/service-key/create-service-key.ts";
import { ApiKeyService } from "../../src/gen/latchkey/v1/api_key_pb.ts";
import { AuthenticationService } from "../../src/gen/latchkey/v1/authentication_pb.ts";
import { OrganizationService } from "../../src/gen/latchkey/v1/organization_pb.ts";
import { ServiceKeyService } from "../../src/gen/latchkey/v1/service_key_pb.ts";
import { TokenService } from "../../src/gen/latchkey/v1/token_pb.ts";
import { UserService } from "../../src/gen/latchkey/v1/user_pb.ts";
import { insertOrganization } from "../../src/organizations/create-organization.ts";
import { createLog } from "../../src/server/log.ts";
import type { DatabaseConnection } from "../../src/storage/database-connection.ts";
import { makeAdministrator } from "../../src/users/make-administrator.ts";
import { createDatabase } from "./cluster.ts";
import { catchUp, joinReplicas, snapshotReader } from "./replicas.ts";

const NEVER = 2 ** 31 - 1;

export const ISSUER = "https://latchkey.test";

/** A service that runs in this process on a port and a database of its own, with one of each credential. */
export interface TestService {
  readonly url: string;
  readonly port: number;
  readonly connection: DatabaseConnection;
  readonly core: Core;
  readonly encryptionKey: Buffer;
  /** What it has heard of changes. */
  readonly hearing: Hearing;
  /** Every line that was logged. */
  readonly logged: string[];
  readonly organizationId: string;
  readonly admin: { readonly id: string; readonly email: string; readonly password: string };
  /** `calls.*`, owned by the administrator. */
  readonly apiKey: string;
  /** `*`. */
  readonly internalKey: string;
  /** A client of one service by Connect over HTTP/1.1, with headers of its own. */
  client<Service extends DescService>(service: Service, headers?: Record<string, string>): Client<Service>;
  /** Logs in. @returns the access token. */
  logIn(email?: string, password?: string): Promise<string>;
  /** @param graceMillis how long calls in flight may go on. */
  stop(graceMillis?: number): Promise<void>;
}

export interface TestServiceOptions extends Partial<AppSettings> {
  /** A database that is migrated, and how to connect to it; else one is made. */
  readonly connection?: DatabaseConnection;
  /** Another replica on the same database. */
  readonly beside?: TestService;
  /** By default one of its own, or that of the replica beside. */
  readonly encryptionKey?: Buffer;
  readonly previousEncryptionKey?: Buffer;
  /** Puts something between the service and its parts, to make it fail. */
  readonly wrapCore?: (core: Core) => Core;
}

export async function startService(options: TestServiceOptions = {}): Promise<TestService> {
  const {
    beside,
    connection: known,
    previousEncryptionKey,
    wrapCore = (core: Core) => core,
    ...given
  } = options;
  const connection = beside?.connection ?? known ?? (await createDatabase());
  const { encryptionKey = beside?.encryptionKey ?? randomBytes(32), ...settings } = given;
  const logged: string[] = [];
  const log = createLog("trace", { write: (line: string) => logged.push(line) });
  const core = await openCore(
    { connection, encryptionKey, previousEncryptionKey, passwordMinimumLength: 15 },
    log,
  );
  const seeded = beside ?? (await seed(core));
  const app = await buildApp(
    wrapCore(core),
    {
      publicUrl: ISSUER,
      audience: ISSUER,
      callers: "any",
      apiKeyPrefix: "ak",
      apiKeyOldPrefixes: [],
      memoryBytes: 64 * 1024 * 1024,
      loginSourceLimit: 1000,
      signingAlgorithm: "ES256",
      signingKeyDays: 90,
      corsOrigins: [],
      leanTransport: true,
      // What is not asked for does not come between: a test that wants it says how long it takes.
      auditTimes: { sealMillis: NEVER, refusalMillis: NEVER },
      ...settings,
    },
    log,
  );
  const port = await app.listen({ host: "127.0.0.1", port: 0 });
  const url = `${settings.tls === undefined ? "http" : "https"}://127.0.0.1:${port.port}`;

  const { database } = connection;
  const leave = joinReplicas(database, {
    hearing: app.hearing,
    forget: () => core.storage.commits.emit("changed", [EVERYTHING]),
  });
  const snapshots = snapshotReader(connection);
  const afterOthers: Interceptor = (next) => async (request) => {
    // Where it cannot hear of them, the call says so itself.
    await catchUp(database, app.hearing, snapshots.read).catch(() => {});
    return await next(request);
  };
  const client: TestService["client"] = (service, headers = {}) =>
    createClient(service, transportTo(url, "connect proto", "1.1", headers, [afterOthers]));
  return {
    url,
    port: port.port,
    connection,
    core,
    encryptionKey,
    hearing: app.hearing,
    logged,
    organizationId: seeded.organizationId,
    admin: seeded.admin,
    apiKey: seeded.apiKey,
    internalKey: seeded.internalKey,
    client,
    async logIn(email = seeded.admin.email, password = seeded.admin.password) {
      const grant = { case: "password", value: { email, password } } as const;
      return (await client(TokenService).issueToken({ grant })).accessToken;
    },
    async stop(graceMillis = 0) {
      leave();
      snapshots.end();
      app.announceEnd();
      app.endStreams();
      await port.close(graceMillis);
      await app.close();
      await core.storage.close();
    },
  };
}

async function seed(core: Core) {
  const em = core.storage.fork();
  const organizationId = uuidv7();
  const email = "admin@acme.test";
  const password = randomBytes(18).toString("base64url");
  const passwordHash = await core.passwordHasher.hash(password);
  const apiKey = mintKey("ak");
  const internalKey = mintKey("sk");
  const id = await em.transactional(async (tx) => {
    await insertOrganization(tx, "acme", organizationId);
    const userId = await makeAdministrator(tx, organizationId, {
      email,
      passwordHash,
      passwordExpireTime: undefined,
    });
    const key = { name: "test", allowedCidrs: [], expireTime: undefined };
    await insertServiceKey(tx, core.keyHasher, internalKey, { ...key, permissions: ["*"] });
    await insertApiKey(tx, core.keyHasher, apiKey, {
      ...key,
      permissions: ["calls.*"],
      environment: "",
      organizationId,
      creatorId: userId,
      owner: { userId },
    });
    return userId;
  });
  return {
    organizationId,
    admin: { id, email, password },
    apiKey: apiKey.text,
    internalKey: internalKey.text,
  };
}

/** The ways to make a call. */
export const PROTOCOLS = ["grpc", "grpc-web", "connect proto", "connect json"] as const;
export type Protocol = (typeof PROTOCOLS)[number];

/** Every protocol over every HTTP version that carries it. */
export const WIRES: readonly { readonly protocol: Protocol; readonly http: "1.1" | "2" }[] =
  PROTOCOLS.flatMap((protocol) =>
    // gRPC needs trailers, which clients of HTTP/1.1 do not read.
    (protocol === "grpc" ? (["2"] as const) : (["1.1", "2"] as const)).map((http) => ({ protocol, http })),
  );

export function transportTo(
  baseUrl: string,
  protocol: Protocol,
  httpVersion: "1.1" | "2",
  headers: Record<string, string> = {},
  more: readonly Interceptor[] = [],
): Transport {
  const options = {
    baseUrl,
    httpVersion,
    interceptors: [
      (next) => async (request) => {
        for (const [name, value] of Object.entries(headers)) {
          request.header.set(name, value);
        }
        return await next(request);
      },
      ...more,
    ],
  } satisfies Parameters<typeof createConnectTransport>[0];
  switch (protocol) {
    case "grpc":
      return createGrpcTransport(options);
    case "grpc-web":
      return createGrpcWebTransport(options);
    case "connect proto":
      return createConnectTransport({ ...options, useBinaryFormat: true });
    case "connect json":
      return createConnectTransport({ ...options, useBinaryFormat: false });
  }
}

export {
  ApiKeyService,
  AuthenticationService,
  OrganizationService,
  ServiceKeyService,
  TokenService,
  UserService,
};
