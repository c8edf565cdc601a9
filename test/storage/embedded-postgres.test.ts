import assert from "node:assert/strict";
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import {
  chmodSync,
  chownSync,
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { createInterface } from "node:readline";
import { after, before, describe, it, type TestContext } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import pg from "pg";
import { type Binaries, findBinaries, linkLibraries } from "../../src/storage/embedded-postgres/binaries.ts";
import {
  type EmbeddedPostgres,
  EmbeddedPostgresError,
  type EmbeddedPostgresOptions,
  startEmbeddedPostgres,
} from "../../src/storage/embedded-postgres.ts";

const MODULE = new URL("../../src/storage/embedded-postgres.ts", import.meta.url);
const WATCHDOG = new URL("../../src/storage/embedded-postgres/watchdog.ts", import.meta.url);
const isRoot = process.geteuid?.() === 0;
const isLinux = process.platform === "linux";

/** A cluster to copy, which is faster than to make one. */
const template = mkdtempSync(join(tmpdir(), "embedded-postgres-"));
before(async () => (await startEmbeddedPostgres({ directory: template, fsync: false })).stop());
after(() => rmSync(template, { recursive: true, force: true }));

describe("startEmbeddedPostgres", () => {
  it("keeps its data from one start to the next", async (t) => {
    const directory = temporaryFolder(t);
    const first = await start(t, { directory });
    await query(first.connection, "create table kept (n int); insert into kept values (1)");
    await first.stop();
    assert.deepEqual(postgresProcesses(directory), []);

    const second = await start(t, { directory });
    assert.deepEqual(await query(second.connection, "select n from kept"), [{ n: 1 }]);
  });

  it("is durable, checksummed, UTF-8 and the same on every system", async (t) => {
    const postgres = await startEmbeddedPostgres({ directory: temporaryFolder(t) });
    undo(t, () => postgres.stop());
    assert.deepEqual(
      await query(
        postgres.connection,
        `select current_setting('fsync') fsync, current_setting('synchronous_commit') synchronous_commit,
           current_setting('data_checksums') checksums, current_setting('server_encoding') encoding,
           current_setting('timezone') timezone, datlocprovider provider, datlocale locale
         from pg_database where datname = current_database()`,
      ),
      [
        {
          fsync: "on",
          synchronous_commit: "on",
          checksums: "on",
          encoding: "UTF8",
          timezone: "UTC",
          provider: "b",
          locale: "C.UTF-8",
        },
      ],
    );
  });

  it("can be reached by its socket only, and that by its user only", async (t) => {
    const directory = folderWithCluster(t);
    const settings = {
      listen_addresses: "*",
      port: "5433",
      unix_socket_directories: "/tmp",
      work_mem: "5MB",
    };
    const { connection } = await start(t, { directory, settings });
    assert.deepEqual(await query(connection, "show listen_addresses"), [{ listen_addresses: "" }]);
    assert.deepEqual(await query(connection, "show work_mem"), [{ work_mem: "5MB" }]);
    for (const folder of [directory, connection.host, join(directory, "cluster")]) {
      assert.equal(statSync(folder).mode & 0o777, 0o700, folder);
    }
    assert.equal(statSync(join(directory, "postgres.log")).mode & 0o777, 0o600);
  });

  it("obeys no PG* variable of this process", async (t) => {
    undo(t, () => delete process.env["PGPORT"]);
    process.env["PGPORT"] = "6000";
    const { connection } = await start(t, { directory: folderWithCluster(t) });
    assert.deepEqual(await query(connection, "select 1 as one"), [{ one: 1 }]);
  });

  it("works where the path is too long for a socket, and holds characters of a list", async (t) => {
    const directory = join(temporaryFolder(t), `a "quoted", spaced path`, "long".repeat(30));
    const postgres = await start(t, { directory });
    const { host } = postgres.connection;
    assert.equal(join(host, ".."), tmpdir());
    assert.equal(statSync(host).mode & 0o777, 0o700);
    await query(postgres.connection, "select 1");
    await postgres.stop();
    assert.equal(existsSync(host), false);

    const short = join(temporaryFolder(t), `a "q", s`);
    const { connection } = await start(t, { directory: short });
    assert.equal(connection.host, join(short, "socket"));
    await query(connection, "select 1");
  });

  it("takes back the access that a copy or a mount gave to a group", async (t) => {
    const directory = folderWithCluster(t);
    chmodSync(join(directory, "cluster"), 0o2775);
    await start(t, { directory });
    assert.equal(statSync(join(directory, "cluster")).mode & 0o777, 0o700);
  });

  it("stops with a transaction open, and twice", async (t) => {
    const directory = folderWithCluster(t);
    const postgres = await start(t, { directory });
    const client = await connect(postgres.connection);
    await client.query("begin; create table undone (n int)");
    await Promise.all([postgres.stop(), postgres.stop()]);
    assert.deepEqual(postgresProcesses(directory), []);
  });

  it("tells that PostgreSQL died, and can be started again after stop", async (t) => {
    const directory = folderWithCluster(t);
    const postgres = await start(t, { directory });
    process.kill(postmaster(directory), "SIGKILL");
    const error = await postgres.died;
    assert.ok(error instanceof EmbeddedPostgresError);
    assert.match(error.message, /ended by itself: .*SIGKILL/);
    await postgres.stop();
    const again = await start(t, { directory });
    await query(again.connection, "select 1");
  });

  it("tells that PostgreSQL died because somebody removed its folder", async (t) => {
    const directory = folderWithCluster(t);
    const postgres = await start(t, { directory });
    const server = postmaster(directory);
    rmSync(directory, { recursive: true });
    kill9(server);
    assert.match((await postgres.died).message, /ended by itself/);
    await postgres.stop();
  });

  it("ends PostgreSQL although its watchdog was killed", async (t) => {
    const directory = folderWithCluster(t);
    const postgres = await start(t, { directory });
    process.kill(watchdog(directory), "SIGKILL");
    await postgres.died;
    await postgres.stop();
    assert.deepEqual(postgresProcesses(directory), []);
  });

  it("works with a garbage collector about", async (t) => {
    const child = await startChild(t, folderWithCluster(t), {
      flags: ["--expose-gc"],
      next: "for (let i = 0; i < 20; i++) { gc(); await new Promise((go) => setTimeout(go, 10)); }",
    });
    await query(child.connection, "select 1");
    await assert.rejects(startEmbeddedPostgres({ directory: child.directory }), /in use by process/);
  });
});

describe("PostgreSQL ends with the process that started it", () => {
  for (const signal of ["SIGKILL", "SIGTERM", "SIGINT"] as const) {
    it(`when that gets ${signal}`, async (t) => {
      const child = await startChild(t, folderWithCluster(t));
      child.process.kill(signal);
      await gone(child.directory);
    });
  }

  it("when that ends by itself, which the server does not keep it from", async (t) => {
    const child = await startChild(t, folderWithCluster(t), { next: "clearInterval(stay);" });
    await exited(child.process);
    await gone(child.directory);
  });

  it("when that throws", async (t) => {
    const child = await startChild(t, folderWithCluster(t), { next: "throw new Error('expected');" });
    await exited(child.process);
    await gone(child.directory);
  });

  it("when that is killed while the cluster is being made, which is then made anew", async (t) => {
    const directory = temporaryFolder(t);
    const child = spawnChild(t, directory);
    await until("initdb is at work", () => existsSync(join(directory, "cluster.new", "PG_VERSION")));
    child.kill("SIGKILL");
    await until("initdb is gone", () => postgresProcesses(directory).length === 0);
    assert.equal(existsSync(join(directory, "cluster")), false);
    const { connection } = await start(t, { directory });
    await query(connection, "select 1");
    assert.equal(existsSync(join(directory, "cluster.new")), false);
  });

  it("and removes its socket's folder where that is a temporary one", async (t) => {
    const directory = join(temporaryFolder(t), "long".repeat(30));
    const child = await startChild(t, directory);
    child.process.kill("SIGKILL");
    await until("the folder is gone", () => !existsSync(child.connection.host));
  });

  it("even when every Node process is killed at once", { skip: !isLinux }, async (t) => {
    const child = await startChild(t, folderWithCluster(t));
    process.kill(watchdog(child.directory), "SIGKILL");
    child.process.kill("SIGKILL");
    await gone(child.directory);
  });

  it("but not before that has finished: Ctrl-C and a signal for all leave PostgreSQL alone", async (t) => {
    const child = await startChild(t, folderWithCluster(t), {
      detached: true,
      next: `
        process.on("SIGINT", () => {
          process.stdout.write("interrupted\\n");
          process.once("SIGUSR2", () => postgres.stop().then(() => process.exit(0)));
        });
        process.stdout.write("listening\\n");`,
    });
    await child.line("listening");
    const server = postmaster(child.directory);
    process.kill(watchdog(child.directory), "SIGTERM");
    // What a terminal does.
    process.kill(-(child.process.pid ?? 0), "SIGINT");
    await child.line("interrupted");
    assert.deepEqual(await query(child.connection, "select 1 as one"), [{ one: 1 }]);
    assert.equal(postmaster(child.directory), server);
    child.process.kill("SIGUSR2");
    await exited(child.process);
    assert.deepEqual(postgresProcesses(child.directory), []);
  });
});

describe("after a crash", () => {
  it("keeps its data after kill -9 of the whole process tree", async (t) => {
    const directory = folderWithCluster(t);
    const child = await startChild(t, directory, { fsync: true });
    await query(child.connection, "create table kept (n int); insert into kept values (1)");
    const server = postmaster(directory);
    for (const pid of [watchdog(directory), child.process.pid ?? 0, ...postgresProcesses(directory)]) {
      kill9(pid);
    }
    // At once: not waiting until they are gone.
    const { connection } = await start(t, { directory, fsync: true });
    assert.notEqual(postmaster(directory), server);
    assert.deepEqual(await query(connection, "select n from kept"), [{ n: 1 }]);
  });

  it("starts while the server of the killed process is still ending", async (t) => {
    const directory = folderWithCluster(t);
    for (let n = 1; n <= 5; n++) {
      const child = await startChild(t, directory);
      await query(
        child.connection,
        `create table if not exists kept (n int); insert into kept values (${n})`,
      );
      child.process.kill("SIGKILL");
    }
    const { connection } = await start(t, { directory });
    assert.deepEqual(await query(connection, "select count(*)::int n from kept"), [{ n: 5 }]);
  });

  it("waits for the backends of a killed server", async (t) => {
    const directory = folderWithCluster(t);
    const child = await startChild(t, directory);
    const client = await connect(child.connection);
    const [backend] = (await client.query("select pg_backend_pid() as pid")).rows;
    // A backend that cannot notice, as in a long system call.
    process.kill(backend.pid, "SIGSTOP");
    for (const pid of [watchdog(directory), child.process.pid ?? 0, postmaster(directory)]) kill9(pid);
    const starting = start(t, { directory });
    await until("it was refused", () => log(directory).includes("shared memory block"));
    process.kill(backend.pid, "SIGKILL");
    const { connection } = await starting;
    await query(connection, "select 1");
  });

  it("is not kept from starting by a stranger with the server's old number", async (t) => {
    const directory = folderWithCluster(t);
    await (await start(t, { directory })).stop();
    const stranger = spawn("sleep", ["1000"]);
    undo(t, () => stranger.kill());
    const stale = `${stranger.pid}\n${directory}/cluster\n1\n5432\n${directory}/socket\n\n\nready   \n`;
    writeFileSync(join(directory, "cluster/postmaster.pid"), stale);
    mkdirSync(join(directory, "socket"), { recursive: true });
    writeFileSync(join(directory, "socket/.s.PGSQL.5432.lock"), stale);
    const { connection } = await start(t, { directory });
    await query(connection, "select 1");
  });

  it("takes nothing from a half-made cluster", async (t) => {
    const directory = temporaryFolder(t);
    mkdirSync(join(directory, "cluster.new/base"), { recursive: true });
    writeFileSync(join(directory, "cluster.new/PG_VERSION"), "18\n");
    const { connection } = await start(t, { directory });
    await query(connection, "select 1");
  });
});

describe("of two that want the same folder", () => {
  it("one gets it when they start at once, and the other is told which", async (t) => {
    const directory = temporaryFolder(t);
    const children = [spawnChild(t, directory), spawnChild(t, directory)];
    const [a, b] = await Promise.all(
      children.map(async (child) => ({ pid: child.pid, said: await firstLine(child) })),
    );
    const [winner, loser] = a?.said.startsWith("{") ? [a, b] : [b, a];
    assert.match(winner?.said ?? "", /^\{/);
    assert.equal(
      loser?.said,
      `EmbeddedPostgresError: The database in ${directory} is in use by process ${winner?.pid}: stop that first, or choose another folder`,
    );
    await query(JSON.parse(winner?.said ?? ""), "select 1");
  });

  it("a second in the same process is refused, and the first keeps its lock", async (t) => {
    const directory = folderWithCluster(t);
    const { connection } = await start(t, { directory });
    const refused = {
      name: "EmbeddedPostgresError",
      message: new RegExp(`in use by process ${process.pid}:`),
    };
    await assert.rejects(startEmbeddedPostgres({ directory }), refused);
    const other = spawnChild(t, directory);
    assert.match(await firstLine(other), refused.message);
    await query(connection, "select 1");
  });

  it("the second gets it when the first is just stopping", async (t) => {
    const directory = folderWithCluster(t);
    const first = await start(t, { directory });
    const stopping = first.stop();
    const { connection } = await start(t, { directory });
    await stopping;
    await query(connection, "select 1");
  });
});

describe("refuses in one clear line, and leaves nothing running", () => {
  it("a folder that holds something else, which it does not touch", async (t) => {
    const directory = temporaryFolder(t);
    writeFileSync(join(directory, "diary.txt"), "");
    await refuses({ directory }, /holds something else \(diary\.txt\): choose/);
    assert.deepEqual(readdirSync(directory), ["diary.txt"]);
  });

  it("a cluster of another PostgreSQL", async (t) => {
    const directory = temporaryFolder(t);
    mkdirSync(join(directory, "cluster"));
    writeFileSync(join(directory, "cluster/PG_VERSION"), "17\n");
    await refuses({ directory }, /made by PostgreSQL 17, and this is PostgreSQL 18: dump it/);
  });

  it("a cluster that is damaged", async (t) => {
    const directory = folderWithCluster(t);
    await (await start(t, { directory })).stop();
    rmSync(join(directory, "cluster/global/pg_control"));
    await refuses({ directory }, /did not start on .*pg_control/);
    rmSync(join(directory, "cluster/PG_VERSION"));
    await refuses({ directory }, /PG_VERSION/);
  });

  it("a path that leads through a file", async (t) => {
    const directory = join(temporaryFolder(t), "file");
    writeFileSync(directory, "");
    await refuses({ directory }, /cannot hold the database .*: check its owner/);
    await refuses({ directory: join(directory, "below") }, /cannot hold the database .*: check its owner/);
  });

  it("a folder that it may not write to", async (t) => {
    const directory = temporaryFolder(t);
    chmodSync(directory, 0o555);
    const child = spawnChild(t, directory, isRoot ? { user: 65534 } : {});
    assert.match(await firstLine(child), /EmbeddedPostgresError: The folder .* cannot hold the database/);
  });

  it("settings that PostgreSQL does not take, with its reason", async (t) => {
    const directory = temporaryFolder(t);
    const settings = { shared_buffers: "plenty" };
    await refuses({ directory, settings }, /did not start on .*invalid value for parameter "shared_buffers"/);
    const { connection } = await start(t, { directory });
    await query(connection, "select 1");
  });

  it("a full disk", { skip: !isRoot || !isLinux }, async (t) => {
    const directory = temporaryFolder(t);
    if (spawnSync("mount", ["-t", "tmpfs", "-o", "size=12m", "none", directory]).status !== 0)
      return t.skip();
    undo(t, () => spawnSync("umount", [directory]));
    await refuses({ directory }, /could not make its database in .*No space left on device/);
    assert.deepEqual(readdirSync(directory).sort(), ["lock", "postgres.log"]);
  });

  it("an installation without PostgreSQL", async (t) => {
    const elsewhere = temporaryFolder(t);
    cpSync(new URL(".", MODULE), elsewhere, { recursive: true });
    const child = spawnChild(t, join(elsewhere, "data"), {
      module: join(elsewhere, basename(MODULE.pathname)),
    });
    assert.match(await firstLine(child), /EmbeddedPostgresError: No PostgreSQL came with .*set DATABASE_URL/);
    assert.equal(existsSync(join(elsewhere, "data")), false);
  });
});

describe("as root", { skip: !isRoot || !isLinux }, () => {
  it("works in a folder below one that is root's alone, and its files stay root's", async (t) => {
    const directory = join(temporaryFolder(t), "deeper");
    await start(t, { directory });
    assert.equal(statSync(join(directory, "cluster/PG_VERSION")).uid, 0);
  });

  it("becomes the owner of the folder", async (t) => {
    const directory = temporaryFolder(t);
    chownSync(directory, 65534, 65534);
    const { connection } = await start(t, { directory });
    await query(connection, "select 1");
    assert.equal(statSync(join(directory, "cluster/PG_VERSION")).uid, 65534);
  });

  it("becomes the owner of the folder though that has no name", async (t) => {
    const directory = temporaryFolder(t);
    chownSync(directory, 54321, 54321);
    const { connection } = await start(t, { directory });
    await query(connection, "select 1");
    assert.equal(statSync(join(directory, "cluster/PG_VERSION")).uid, 54321);
  });

  it("gives the files to nobody where user namespaces are refused, and keeps them so", async (t) => {
    const directory = folderWithCluster(t);
    const first = await start(t, { directory });
    await query(first.connection, "create table kept (n int); insert into kept values (1)");
    await first.stop();

    const refusing = temporaryFolder(t);
    symlinkSync("/bin/false", join(refusing, "unshare"));
    const { PATH } = process.env;
    process.env["PATH"] = `${refusing}:${PATH}`;
    try {
      const second = await start(t, { directory });
      assert.equal(statSync(join(directory, "cluster/PG_VERSION")).uid, 65534);
      assert.deepEqual(await query(second.connection, "select n from kept"), [{ n: 1 }]);
      await second.stop();
    } finally {
      process.env["PATH"] = PATH;
    }
    const third = await start(t, { directory });
    assert.deepEqual(await query(third.connection, "select n from kept"), [{ n: 1 }]);
  });

  it("refuses a folder of root's from an ordinary user without a word about its inside", async (t) => {
    const directory = folderWithCluster(t);
    await (await start(t, { directory })).stop();
    assert.match(await firstLine(spawnChild(t, directory, { user: 65534 })), /cannot hold the database/);
  });
});

describe("linkLibraries", () => {
  it("makes the links that npm did not, whoever else does", async (t) => {
    const binaries = packageWithoutLinks(t);
    assert.notEqual(spawnSync(binaries.initdb, ["--version"]).status, 0);
    await Promise.all([1, 2, 3].map(() => linkLibraries(binaries, "/absent/folder")));
    assert.equal(spawnSync(binaries.initdb, ["--version"]).status, 0);
  });

  it("makes them elsewhere where the package is read-only", async (t) => {
    const binaries = packageWithoutLinks(t);
    const { folder } = binaries;
    chmodSync(join(folder, "lib"), 0o555);
    undo(t, () => chmodSync(join(folder, "lib"), 0o755));
    if (isRoot) {
      const mounted = spawnSync("mount", ["--bind", "-o", "ro", folder, folder]).status === 0;
      if (!mounted) return t.skip("may not mount");
      undo(t, () => spawnSync("umount", [folder]));
    }
    const fallback = join(temporaryFolder(t), "lib");
    for (let i = 0; i < 2; i++) {
      const env = await linkLibraries(binaries, fallback);
      assert.deepEqual(Object.values(env), [fallback]);
      assert.equal(spawnSync(binaries.initdb, ["--version"], { env }).status, 0);
    }
  });

  function packageWithoutLinks(t: TestContext): Binaries {
    const folder = temporaryFolder(t);
    const isLink = (path: string) => lstatSync(path).isSymbolicLink();
    const source = findBinaries().folder;
    for (const name of ["bin", "lib", "pg-symlinks.json"]) {
      cpSync(join(source, name), join(folder, name), { recursive: true, filter: (path) => !isLink(path) });
    }
    return { folder, initdb: join(folder, "bin/initdb"), postgres: join(folder, "bin/postgres") };
  }
});

describe("the watchdog", () => {
  it("loses its patience with a command that does not end", async (t) => {
    const folder = temporaryFolder(t);
    const stubborn = `trap "echo INT" INT; trap "echo QUIT" QUIT; echo up; while :; do sleep 0.05; done`;
    const job = { command: ["sh", "-c", stubborn], patience: 100, remove: folder };
    const watchdog = spawn(process.execPath, [WATCHDOG.pathname, JSON.stringify(job)], {
      stdio: ["pipe", "pipe", "ignore"],
    });
    undo(t, () => watchdog.kill("SIGKILL"));
    const lines: string[] = [];
    createInterface(watchdog.stdout).on("line", (line) => lines.push(line));
    await until("it is up", () => lines.includes("up"));
    watchdog.stdin.end();
    await exited(watchdog);
    assert.deepEqual(lines, ["up", "INT", "QUIT"]);
    assert.equal(existsSync(folder), false);
  });
});

/** In a test nothing needs to survive a power cut. */
async function start(t: TestContext, options: EmbeddedPostgresOptions): Promise<EmbeddedPostgres> {
  const postgres = await startEmbeddedPostgres({ fsync: false, ...options });
  undo(t, () => postgres.stop());
  return postgres;
}

async function refuses(options: EmbeddedPostgresOptions, message: RegExp): Promise<void> {
  await assert.rejects(startEmbeddedPostgres({ fsync: false, ...options }), (error) => {
    assert.ok(error instanceof EmbeddedPostgresError);
    assert.match(error.message, message);
    assert.doesNotMatch(error.message, /\n/);
    return true;
  });
  assert.deepEqual(postgresProcesses(options.directory), []);
}

interface ChildOptions {
  readonly fsync?: boolean;
  readonly flags?: readonly string[];
  readonly detached?: boolean;
  readonly user?: number;
  readonly module?: string;
  /** What it does after it told its connection. */
  readonly next?: string;
}

/** A process that starts PostgreSQL, says in a line how to connect or why not, and stays. */
function spawnChild(t: TestContext, directory: string, options: ChildOptions = {}): ChildProcess {
  const { fsync = false, flags = [], detached = false, user, module = MODULE.href, next = "" } = options;
  const script = `
    import { startEmbeddedPostgres } from ${JSON.stringify(module)};
    const stay = setInterval(() => {}, 1000);
    const settings = ${JSON.stringify({ directory, fsync })};
    const postgres = await startEmbeddedPostgres(settings).catch((error) => {
      process.stdout.write(error.name + ": " + error.message + "\\n", () => process.exit(1));
      return new Promise(() => {});
    });
    process.stdout.write(JSON.stringify(postgres.connection) + "\\n");
    ${next}`;
  const child = spawn(process.execPath, [...flags, "--input-type=module", "-e", script], {
    detached,
    stdio: ["ignore", "pipe", next.includes("expected") ? "ignore" : "inherit"],
    ...(user !== undefined && { uid: user, gid: user }),
  });
  undo(t, async () => {
    child.kill("SIGKILL");
    await exited(child);
  });
  return child;
}

async function startChild(t: TestContext, directory: string, options: ChildOptions = {}) {
  const child = spawnChild(t, directory, options);
  const lines: string[] = [];
  createInterface(child.stdout ?? assert.fail()).on("line", (line) => lines.push(line));
  await until("it has started", () => lines.length > 0);
  const connection: EmbeddedPostgres["connection"] = JSON.parse(lines[0] ?? "");
  const line = (text: string) => until(`it says ${text}`, () => lines.includes(text));
  return { process: child, directory, connection, line };
}

async function firstLine(child: ChildProcess): Promise<string> {
  const [line] = await once(createInterface(child.stdout ?? assert.fail()), "line");
  return line;
}

async function exited(child: ChildProcess): Promise<void> {
  await until("it has ended", () => child.exitCode !== null || child.signalCode !== null);
}

/** That nothing of it runs any more, and that it ended in order: a killed one leaves its postmaster.pid. */
async function gone(directory: string): Promise<void> {
  await until("PostgreSQL is gone", () => postgresProcesses(directory).length === 0);
  assert.equal(existsSync(join(directory, "cluster/postmaster.pid")), false);
  assert.match(log(directory), /database system is shut down/);
}

/** What `ps` shows of the programs that work on a folder, zombies apart. */
function postgresProcesses(directory: string): number[] {
  const { stdout } = spawnSync("ps", ["-A", "-o", "pid=,ppid=,stat=,command="], { encoding: "utf8" });
  const all = stdout
    .split("\n")
    .map((line) => line.trim().split(/\s+/))
    .filter(([, , state]) => !state?.startsWith("Z"))
    .map(([pid, parent, , ...command]) => ({
      pid: Number(pid),
      parent: Number(parent),
      command: command.join(" "),
    }));
  const ours = all.filter(({ command }) => command.includes(directory));
  const children = all.filter(({ parent }) => ours.some(({ pid }) => pid === parent));
  return [...new Set([...ours, ...children].map(({ pid }) => pid))].filter((pid) => pid !== process.pid);
}

function postmaster(directory: string): number {
  return Number.parseInt(readFileSync(join(directory, "cluster/postmaster.pid"), "utf8"), 10);
}

function watchdog(directory: string): number {
  const { stdout } = spawnSync("ps", ["-o", "ppid=", "-p", String(postmaster(directory))], {
    encoding: "utf8",
  });
  return Number.parseInt(stdout, 10);
}

function log(directory: string): string {
  return readFileSync(join(directory, "postgres.log"), "utf8");
}

function kill9(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // It went with the one before.
  }
}

async function connect(connection: EmbeddedPostgres["connection"]): Promise<pg.Client> {
  const client = new pg.Client(connection);
  // That its server goes away is what some tests are about.
  client.on("error", () => {});
  await client.connect();
  return client;
}

async function query(connection: EmbeddedPostgres["connection"], sql: string): Promise<unknown> {
  const client = await connect(connection);
  try {
    return (await client.query(sql)).rows;
  } finally {
    await client.end();
  }
}

async function until(what: string, holds: () => boolean): Promise<void> {
  const deadline = Date.now() + 20_000;
  while (!holds()) {
    if (Date.now() > deadline) assert.fail(`waited for 20 s until ${what}`);
    await sleep(20);
  }
}

function temporaryFolder(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), "embedded-postgres-"));
  undo(t, async () => {
    await until("nothing works in it", () => postgresProcesses(folder).length === 0);
    rmSync(folder, { recursive: true, force: true });
  });
  return folder;
}

function folderWithCluster(t: TestContext): string {
  const folder = temporaryFolder(t);
  cpSync(join(template, "cluster"), join(folder, "cluster"), { recursive: true });
  return folder;
}

const undone = new WeakMap<TestContext, AsyncDisposableStack>();

/** Runs after the test, the last one first (`t.after` runs the first one first). */
function undo(t: TestContext, act: () => unknown): void {
  let stack = undone.get(t);
  if (stack === undefined) {
    stack = new AsyncDisposableStack();
    undone.set(t, stack);
    t.after(() => stack?.disposeAsync());
  }
  stack.defer(async () => {
    await act();
  });
}
