import { spawnSync } from "node:child_process";
import { availableParallelism } from "node:os";

/** Which cores the server and everything else have: apart, where there are two and `taskset` to say so. */
export interface Cores {
  /** For people. */
  readonly about: string;
  readonly areApart: boolean;
  /** What a server's command begins with. */
  readonly server: readonly string[];
  /** What the command of a server begins with that shares all cores with the load. */
  readonly shared: readonly string[];
  /** Lets this process, and what it starts from now on, run everywhere. */
  unpin(): void;
  pin(): void;
}

const SERVER = "0";
const LOAD = "1";
const BOTH = "0,1";

export function chooseCores(): Cores {
  const hasTaskset = spawnSync("taskset", ["--version"]).status === 0;
  if (!hasTaskset || availableParallelism() < 2) {
    const why = hasTaskset ? "there is one core" : "there is no taskset";
    const about = `the server and the load share what cores there are: ${why}`;
    return { about, areApart: false, server: [], shared: [], unpin: () => {}, pin: () => {} };
  }
  const move = (cores: string) => {
    spawnSync("taskset", ["--all-tasks", "--cpu-list", "--pid", cores, String(process.pid)]);
  };
  return {
    about: `the server on core ${SERVER}; the load and PostgreSQL on core ${LOAD}`,
    areApart: true,
    server: ["taskset", "--cpu-list", SERVER],
    shared: ["taskset", "--cpu-list", BOTH],
    unpin: () => move(BOTH),
    pin: () => move(LOAD),
  };
}
