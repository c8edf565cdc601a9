import type { Logger } from "pino";
import { createAuthenticate } from "./authenticate/authenticate.ts";
import { createLiveState } from "./authenticate/live-state.ts";
import { loadSigningKeys } from "./credentials/access-token/signing-keys.ts";
import { createTokenVerifier } from "./credentials/access-token/verify-token.ts";
import { type KeyHasher, loadKeyHasher } from "./credentials/key-digest.ts";
import { createSchemes } from "./credentials/schemes.ts";
import { entities } from "./entities.ts";
import { HealthStatus } from "./grpc-health/index.ts";
import { organizationExists } from "./organizations/read-organizations.ts";
import { listenOnePort, type OnePort } from "./server/one-port.ts";
import { createHandler, SERVICES } from "./server/routes.ts";
import type { Tls } from "./server/tls-files.ts";
import type { DatabaseConnection } from "./storage/database-connection.ts";
import { openStorage, type Storage } from "./storage/open-storage.ts";
import { createPager } from "./storage/page.ts";
import { createSeal, type Seal } from "./storage/seal.ts";
import { createPasswordHasher, type PasswordHasher } from "./users/password.ts";

/** The parts that every command needs which works on the database. */
export interface Core {
  readonly storage: Storage;
  readonly seal: Seal;
  readonly keyHasher: KeyHasher;
  readonly passwordHasher: PasswordHasher;
}

export interface CoreSettings {
  readonly connection: DatabaseConnection;
  /** 32 bytes. */
  readonly encryptionKey: Uint8Array;
  readonly passwordMinimumLength: number;
}

export interface AppSettings {
  readonly publicUrl: string;
  readonly audience: string;
  readonly callers: "any" | "authenticated";
  readonly apiKeyPrefix: string;
  readonly apiKeyOldPrefixes: readonly string[];
  /** The origins whose pages may call from a browser. */
  readonly corsOrigins: readonly string[];
  /** Undefined: the port speaks plaintext. */
  readonly tls?: Tls | undefined;
}

/** A service that is built, and listens when it is told to. */
export interface App {
  listen(address: { readonly host: string; readonly port: number }): Promise<OnePort>;
  /** Says to whoever asks that no new call should come here. Goes on answering. */
  announceEnd(): void;
  /** Ends the streams, which would otherwise be calls in flight for as long as their clients like. */
  endStreams(): void;
}

/** Opens a database that was migrated. */
export async function openCore(settings: CoreSettings, log: Logger): Promise<Core> {
  const storage = await openStorage({
    connection: settings.connection,
    entities,
    onIdleError: (error) => log.warn({ err: error }, "an idle database connection broke"),
  });
  try {
    const seal = createSeal(settings.encryptionKey);
    return {
      storage,
      seal,
      keyHasher: await loadKeyHasher(storage, seal),
      passwordHasher: await createPasswordHasher(settings.passwordMinimumLength),
    };
  } catch (error) {
    await storage.close();
    throw error;
  }
}

/** Puts the service together: settings and database in, something that can listen out. */
export async function buildApp(core: Core, settings: AppSettings, log: Logger): Promise<App> {
  const { storage, seal, keyHasher, passwordHasher } = core;
  const { publicUrl: issuer, audience, callers, apiKeyPrefix } = settings;
  const signingKeys = await loadSigningKeys(storage, seal);
  const tokenVerifier = createTokenVerifier({ issuer, knownKey: (kid) => signingKeys.find(kid) });
  const liveState = createLiveState(storage);
  const schemes = createSchemes({
    liveState,
    keyHasher,
    tokenVerifier,
    apiKeyPrefixes: new Set([apiKeyPrefix, ...settings.apiKeyOldPrefixes]),
    defaultAudience: audience,
  });

  const health = new HealthStatus();
  const streams = new AbortController();
  const databaseAnswers = () =>
    storage.ping().then(
      () => true,
      () => false,
    );

  const handler = createHandler({
    authenticate: createAuthenticate(schemes),
    organizationExists: (id) => organizationExists(storage, id),
    callers,
    storage,
    pager: createPager(seal.deriveKey("page tokens")),
    keyHasher,
    passwordHasher,
    signingKeys,
    tokenVerifier,
    liveState,
    issuer,
    audience,
    apiKeyPrefix,
    health,
    pages: {
      jwks: signingKeys.jwks,
      isReady: async () => health.get("") === "SERVING" && (await databaseAnswers()),
    },
    corsOrigins: new Set(settings.corsOrigins),
    shutdownSignal: streams.signal,
    log,
  });

  return {
    async listen(address) {
      const port = await listenOnePort({
        ...address,
        handler,
        tls: settings.tls,
        onError: (error) => log.error({ err: error }, "the port failed"),
        onTlsRenewed: ({ certificate: { fingerprint256, validTo } }) =>
          log.info({ fingerprint256, validTo }, "new connections get the changed files of TLS"),
      });
      for (const service of ["", ...SERVICES.map(({ typeName }) => typeName)]) {
        health.set(service, "SERVING");
      }
      return port;
    },
    announceEnd: () => health.shutdown(),
    endStreams() {
      health.endWatches();
      streams.abort();
    },
  };
}
