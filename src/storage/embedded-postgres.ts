import { chmod, mkdir } from "node:fs/promises";
import { join, resolve } from "node:path";
import { findBinaries, linkLibraries } from "./embedded-postgres/binaries.ts";
import {
  clusterIn,
  hasCluster,
  makeCluster,
  refuseForeignFolder,
  refuseOtherVersion,
} from "./embedded-postgres/cluster.ts";
import { EmbeddedPostgresError } from "./embedded-postgres/error.ts";
import { chooseIdentity } from "./embedded-postgres/identity.ts";
import { lockFolder } from "./embedded-postgres/lock.ts";
import { beginLog } from "./embedded-postgres/log.ts";
import { endOrphan, untilNoPostmaster } from "./embedded-postgres/postmaster.ts";
import { makeSocketFolder, serverOptions, startServer } from "./embedded-postgres/server.ts";
import { supervise } from "./embedded-postgres/supervise.ts";

export { EmbeddedPostgresError };

export interface EmbeddedPostgresOptions {
  /** Where everything is kept; made with mode 0700 if absent. One process at a time has it. */
  readonly directory: string;
  /** Whether a commit survives a power cut: default true; false is for tests. */
  readonly fsync?: boolean;
  /** More of PostgreSQL's settings, by name; where it listens cannot be set. */
  readonly settings?: Readonly<Record<string, string>>;
}

/** A PostgreSQL 18 that lives and dies with this process; it listens on a Unix socket only. */
export interface EmbeddedPostgres {
  /** For a client. There is no password: the socket's folder is this user's alone. */
  readonly connection: {
    /** The socket's folder. */
    readonly host: string;
    readonly port: 5432;
    readonly user: "postgres";
    readonly database: "postgres";
  };
  /** Resolves if PostgreSQL ends before `stop()`, which is then still to be called; never rejects. */
  readonly died: Promise<EmbeddedPostgresError>;
  /** Ends PostgreSQL, rolling back what is open, and gives the folder back. May be called twice. */
  stop(): Promise<void>;
}

/** Milliseconds from SIGINT to SIGQUIT, and from there to SIGKILL. Docker kills a container after 10 s. */
const PATIENCE = 8_000;

/**
 * Starts the PostgreSQL of a folder, and makes it there the first time. If that fails, nothing is left running.
 * @throws {EmbeddedPostgresError}
 */
export async function startEmbeddedPostgres(options: EmbeddedPostgresOptions): Promise<EmbeddedPostgres> {
  const { fsync = true, settings = {} } = options;
  const folder = resolve(options.directory);
  try {
    return await start(folder, fsync, settings);
  } catch (error) {
    if (error instanceof EmbeddedPostgresError) throw error;
    const why = error instanceof Error ? error.message : String(error);
    throw new EmbeddedPostgresError(
      `The folder ${folder} cannot hold the database (${why}): check its owner, permissions and free space, choose another, or set DATABASE_URL to a PostgreSQL of your own`,
      { cause: error },
    );
  }
}

async function start(
  folder: string,
  fsync: boolean,
  settings: Readonly<Record<string, string>>,
): Promise<EmbeddedPostgres> {
  const binaries = findBinaries();
  const cluster = clusterIn(folder);
  await mkdir(folder, { recursive: true, mode: 0o700 });
  await refuseForeignFolder(folder);

  // What is taken is given back in reverse order, if a later step fails or by stop().
  await using taken = new AsyncDisposableStack();
  taken.use(await lockFolder(folder));
  if (hasCluster(folder)) refuseOtherVersion(folder);
  // Whoever had the folder may have been killed just now, and its watchdog be ending its server.
  await untilNoPostmaster(cluster, 3 * PATIENCE);

  const log = beginLog(join(folder, "postgres.log"));
  const { prefix, user } = await chooseIdentity(folder, cluster);
  const environment = { ...keptEnvironment(), ...(await linkLibraries(binaries, join(folder, "lib"))) };
  const run = (program: readonly string[], remove?: string) =>
    supervise({ command: [...prefix, ...program], user, patience: PATIENCE, remove }, environment, log);

  if (!hasCluster(folder)) {
    await makeCluster(folder, fsync, (fresh) => run([binaries.initdb, ...fresh]), log);
  }

  // A copy, and a volume that Kubernetes mounts with fsGroup, is open to a group: PostgreSQL refuses that.
  await chmod(cluster, 0o700);
  // Only a watchdog that was killed leaves one.
  taken.defer(() => endOrphan(cluster));
  let socketFolder = "";
  const server = await startServer(
    () => {
      const { path, temporary } = makeSocketFolder(folder, user);
      socketFolder = path;
      const options = serverOptions(cluster, path, fsync, settings);
      // Only that one: the watchdog may be late, and a folder beside the cluster another server's by then.
      return run([binaries.postgres, ...options], temporary ? path : undefined);
    },
    cluster,
    log,
  );
  taken.use(server);
  server.unref();

  const owned = taken.move();
  let stopped: Promise<void> | undefined;
  return {
    connection: { host: socketFolder, port: 5432, user: "postgres", database: "postgres" },
    died: new Promise((resolve) => {
      void server.ended.then(() => {
        if (stopped !== undefined) return;
        resolve(new EmbeddedPostgresError(`PostgreSQL on ${folder} ended by itself: ${log.reason()}`));
      });
    }),
    stop: () => {
      stopped ??= owned.disposeAsync();
      return stopped;
    },
  };
}

/** What the programs need of ours. PostgreSQL obeys PGPORT and the like, and our secrets are not its business. */
function keptEnvironment(): NodeJS.ProcessEnv {
  const { PATH, LD_LIBRARY_PATH } = process.env;
  return { LC_ALL: "C", TZ: "UTC", ...(PATH && { PATH }), ...(LD_LIBRARY_PATH && { LD_LIBRARY_PATH }) };
}
