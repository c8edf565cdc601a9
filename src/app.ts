import { setTimeout as delay } from "node:timers/promises";
import type { Logger } from "pino";
import { loadAuditKeys } from "./audit/audit-keys.ts";
import { AuditSealer } from "./audit/audit-sealer.ts";
import { RefusalRecorder } from "./audit/refusal-recorder.ts";
import type { CheckpointPace } from "./audit/seal-events.ts";
import { createAuthenticate, createExplain, freshProofs } from "./authenticate/authenticate.ts";
import { createCacheTags } from "./authenticate/cache-tags.ts";
import { ProofMemory } from "./authenticate/proof-memory.ts";
import { createProve, createScreen } from "./authenticate/prove.ts";
import { createLiveState } from "./authenticate/read-live-state.ts";
import { createRevocationWatch } from "./authenticate/watch-revocations.ts";
import { ChangeFeed, type Hearing } from "./changes/change-feed.ts";
import { createOnce } from "./changes/once.ts";
import { ChangePruner } from "./changes/prune-changes.ts";
import { createTokenVerifier } from "./credentials/access-token/verify-token.ts";
import { createImportedKeys } from "./credentials/imported-key/imported-keys.ts";
import { createForeignTexts } from "./credentials/imported-key/key-format.ts";
import { type KeyHasher, loadKeyHasher } from "./credentials/key-digest.ts";
import { createSchemes } from "./credentials/schemes.ts";
import { SERVICE_KEY_PREFIX } from "./credentials/service-key/service-key-scheme.ts";
import type { SigningAlgorithm } from "./credentials/signing-key/new-signing-key.ts";
import { loadSigningKeys } from "./credentials/signing-key/signing-keys.ts";
import { entities } from "./entities.ts";
import { HealthStatus } from "./grpc-health/index.ts";
import { organizationExists } from "./organizations/read-organizations.ts";
import { SharedRateLimiter } from "./rate-limit/shared-rate-limiter.ts";
import { watchHealth } from "./server/health-watch.ts";
import { MOST_LARGE_MESSAGE_BYTES } from "./server/large-messages.ts";
import { createLeanCalls } from "./server/lean/lean-calls.ts";
import { listenOnePort, type OnePort, type OnePortOptions } from "./server/one-port.ts";
import { createHandler, MOST_MESSAGE_BYTES, type RouteParts, SERVICES } from "./server/routes.ts";
import type { Tls } from "./server/tls-files.ts";
import type { DatabaseConnection } from "./storage/database-connection.ts";
import { openStorage, type Storage } from "./storage/open-storage.ts";
import { createPager } from "./storage/page.ts";
import { createSeal, type Seal } from "./storage/seal.ts";
import { UsageRecorder } from "./usage/usage-recorder.ts";
import { createLoginThrottle } from "./users/login-throttle.ts";
import { createPasswordHasher, type PasswordHasher } from "./users/password.ts";
import { createPasswordPolicy, type PasswordPolicy } from "./users/password-policy.ts";

/** How long the end may take once no call is in flight. */
const CLOSE_MILLIS = 3_000;

/** The parts that every command needs which works on the database. */
export interface Core {
  readonly storage: Storage;
  readonly seal: Seal;
  readonly keyHasher: KeyHasher;
  readonly passwordHasher: PasswordHasher;
  readonly passwordPolicy: PasswordPolicy;
}

export interface CoreSettings {
  readonly connection: DatabaseConnection;
  /** 32 bytes. */
  readonly encryptionKey: Uint8Array;
  /** The one that was before, while there are values that are sealed under it. */
  readonly previousEncryptionKey?: Uint8Array | undefined;
  readonly passwordMinimumLength: number;
  /** How many replicas share what this machine may use. Undefined: this one has it to itself. */
  readonly workers?: number | undefined;
}

export interface AppSettings {
  readonly publicUrl: string;
  readonly audience: string;
  readonly callers: "any" | "authenticated";
  readonly apiKeyPrefix: string;
  readonly apiKeyOldPrefixes: readonly string[];
  /** How many logins from one address may fail in 15 minutes. 0: any number. */
  readonly loginSourceLimit: number;
  /** How much memory may be used to answer from about known credentials, in bytes. 0: none. */
  readonly memoryBytes: number;
  /** Of the signing keys that are made from now on. */
  readonly signingAlgorithm: SigningAlgorithm;
  /** For how many days a signing key signs. 0: until somebody rotates it. */
  readonly signingKeyDays: number;
  /** The origins whose pages may call from a browser. */
  readonly corsOrigins: readonly string[];
  /** Whether `Authenticate` is served by the lean transport where that can. */
  readonly leanTransport: boolean;
  /** Undefined: the port speaks plaintext. */
  readonly tls?: Tls | undefined;
  /** How long the audit record takes. Undefined: as long as it is meant to. */
  readonly auditTimes?: {
    /** How often it is looked whether events wait for their seals. */
    readonly sealMillis?: number;
    /** How long refusals wait to be written down. */
    readonly refusalMillis?: number;
    readonly checkpoints?: CheckpointPace;
  };
}

/** A service that is built, and listens when it is told to. */
export interface App {
  /** What it has heard of changes. */
  readonly hearing: Hearing;
  listen(address: Pick<OnePortOptions, "host" | "port" | "isShared">): Promise<OnePort>;
  /** Says to whoever asks that no new call should come here. Goes on answering. */
  announceEnd(): void;
  /** Ends the streams, which would otherwise be calls in flight for as long as their clients like. */
  endStreams(): void;
  /** Writes down what the calls have left in memory: after the last of them, before the storage is closed. */
  close(): Promise<void>;
}

/** Opens a database that was migrated. */
export async function openCore(settings: CoreSettings, log: Logger): Promise<Core> {
  const { connection, workers = 1 } = settings;
  const storage = await openStorage({
    connection,
    entities,
    workers,
    onIdleError: (error) => log.warn({ err: error }, "an idle database connection broke"),
  });
  try {
    const seal = createSeal(settings.encryptionKey, settings.previousEncryptionKey);
    return {
      storage,
      seal,
      keyHasher: await loadKeyHasher(storage, seal),
      passwordHasher: await createPasswordHasher({ workers }),
      passwordPolicy: createPasswordPolicy(settings.passwordMinimumLength),
    };
  } catch (error) {
    await storage.close();
    throw error;
  }
}

/** Puts the service together: settings and database in, something that can listen out. */
export async function buildApp(core: Core, settings: AppSettings, log: Logger): Promise<App> {
  const { storage, seal, keyHasher, passwordHasher, passwordPolicy } = core;
  const { publicUrl: issuer, audience, callers, apiKeyPrefix } = settings;
  const { signingAlgorithm, signingKeyDays: days } = settings;
  const signingKeys = await loadSigningKeys({ storage, seal, algorithm: signingAlgorithm, days, log });
  const tokenVerifier = createTokenVerifier({ issuer, knownKey: (kid) => signingKeys.find(kid) });
  const feed = new ChangeFeed({ storage, log });
  const remembers = settings.memoryBytes > 0;
  const liveState = createLiveState(storage, remembers ? feed : undefined);
  const changePruner = new ChangePruner({ storage, log });
  const cacheTag = createCacheTags(keyHasher.deriveKey("cache tags"));
  const apiKeyPrefixes = new Set([apiKeyPrefix, ...settings.apiKeyOldPrefixes]);
  const foreignTexts = createForeignTexts([...apiKeyPrefixes, SERVICE_KEY_PREFIX]);
  const importedKeys = createImportedKeys({ storage, liveState, keyHasher, seal, foreignTexts, log });
  const schemes = createSchemes({
    liveState,
    keyHasher,
    tokenVerifier,
    apiKeyPrefixes,
    importedKeys,
    defaultAudience: audience,
  });
  const prove = createProve(schemes);
  const proofs = remembers
    ? new ProofMemory({ prove, screen: createScreen(schemes), hearing: feed, maxBytes: settings.memoryBytes })
    : freshProofs(prove);
  const reach = (revision: string) => feed.reach(revision);

  const { loginSourceLimit: sourceLimit } = settings;
  const throttleKey = keyHasher.deriveKey("login throttle");
  const loginThrottle = createLoginThrottle({ storage, key: throttleKey, sourceLimit });
  const { auditTimes } = settings;
  const auditKeys = await loadAuditKeys(storage, seal);
  const refusals = new RefusalRecorder({ storage, log, flushMillis: auditTimes?.refusalMillis });
  const auditSealer = new AuditSealer({
    storage,
    keys: auditKeys,
    issuer,
    log,
    sealMillis: auditTimes?.sealMillis,
    pace: auditTimes?.checkpoints,
  });
  const usageMeter = new UsageRecorder({ storage, log });
  const rateLimiter = new SharedRateLimiter({ storage, log });
  const health = new HealthStatus();
  const streams = new AbortController();
  const databaseAnswers = () =>
    storage.ping().then(
      () => true,
      () => false,
    );

  const routeParts: RouteParts = {
    authenticate: createAuthenticate({ proofs, reach, usageMeter, rateLimiter }),
    peek: createAuthenticate({ proofs, reach, usageMeter: { count() {} }, rateLimiter: { take() {} } }),
    explain: createExplain(prove, reach),
    revision: () => feed.revision,
    cacheTag,
    revocations: createRevocationWatch({ feed, storage, cacheTag }),
    epochOf: () => feed.epoch,
    organizationExists: (id, orDeleted) => organizationExists(storage, id, orDeleted),
    callers,
    storage,
    once: createOnce(storage, seal, keyHasher.deriveKey("idempotent requests")),
    pager: createPager(keyHasher.deriveKey("page tokens")),
    seal,
    auditKeys,
    refusals,
    keyHasher,
    foreignTexts,
    importedKeys,
    passwordHasher,
    passwordPolicy,
    loginThrottle,
    signingKeys,
    signingAlgorithm,
    tokenVerifier,
    liveState,
    issuer,
    audience,
    apiKeyPrefix,
    health,
    pages: {
      jwks: () => signingKeys.jwks(),
      issuer,
      isReady: async () => health.get("") === "SERVING" && (await databaseAnswers()),
    },
    corsOrigins: new Set(settings.corsOrigins),
    shutdownSignal: streams.signal,
    log,
  };
  const handler = createHandler(routeParts);
  const leanCalls = settings.leanTransport
    ? createLeanCalls({
        ...routeParts,
        mostMessageBytes: MOST_MESSAGE_BYTES,
        mostLargeMessageBytes: MOST_LARGE_MESSAGE_BYTES,
      })
    : undefined;

  return {
    hearing: feed,
    async listen(address) {
      feed.start();
      changePruner.start();
      await rateLimiter.start();
      signingKeys.start();
      auditSealer.start();
      const port = await listenOnePort({
        ...address,
        handler,
        leanCalls,
        tls: settings.tls,
        onError: (error) => log.error({ err: error }, "the port failed"),
        onTlsRenewed: ({ certificate: { fingerprint256, validTo } }) =>
          log.info({ fingerprint256, validTo }, "new connections get the changed files of TLS"),
      });
      const services = SERVICES.map(({ typeName }) => typeName);
      void watchHealth({ health, services, databaseAnswers, signal: streams.signal });
      return port;
    },
    announceEnd: () => health.shutdown(),
    endStreams() {
      health.endWatches();
      streams.abort();
    },
    async close() {
      signingKeys.stop();
      const timer = new AbortController();
      const late = delay(CLOSE_MILLIS, undefined, { signal: timer.signal }).then(
        () => log.error("what the last calls have left could not be written down in time"),
        () => {},
      );
      await Promise.race([
        Promise.all([
          feed.close(),
          changePruner.close(),
          usageMeter.close(),
          rateLimiter.close(),
          importedKeys.close(),
          refusals.close(),
          auditSealer.close(),
        ]),
        late,
      ]);
      timer.abort();
    },
  };
}
