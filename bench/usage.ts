import { readdirSync, readFileSync } from "node:fs";

// CPU time and memory of processes, from Linux's /proc (proc(5)).

/** Microseconds in one tick of /proc, which counts a hundred a second. */
const TICK_MICROS = 10_000;
const PAGE_BYTES = 4096;

interface Stat {
  readonly parent: number;
  /** Ticks of all its threads. */
  readonly own: number;
  /** Ticks of its children that have ended and were waited for. */
  readonly ended: number;
  readonly residentPages: number;
}

/** A process and all that descend from it: a server's workers, PostgreSQL's backends. */
export class ProcessTree {
  readonly #root: number;

  constructor(root: number) {
    this.#root = root;
  }

  /** CPU time so far, in microseconds, to a hundredth of a second. */
  cpuMicros(): number {
    return sum([...this.#stats().values()].map(({ own, ended }) => own + ended)) * TICK_MICROS;
  }

  /** Resident memory, in bytes, of each process. */
  residentBytes(): number[] {
    return [...this.#stats().values()].map(({ residentPages }) => residentPages * PAGE_BYTES);
  }

  #stats(): Map<number, Stat> {
    const all = new Map<number, Stat>();
    for (const name of readdirSync("/proc")) {
      const stat = /^\d+$/.test(name) ? readStat(Number(name)) : undefined;
      if (stat !== undefined) {
        all.set(Number(name), stat);
      }
    }
    const isWithin = (pid: number): boolean => {
      const parent = all.get(pid)?.parent;
      return pid === this.#root || (parent !== undefined && parent !== 0 && isWithin(parent));
    };
    return new Map([...all].filter(([pid]) => isWithin(pid)));
  }
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

/** Undefined: it has ended. */
function readStat(pid: number): Stat | undefined {
  let text: string;
  try {
    text = readFileSync(`/proc/${pid}/stat`, "latin1");
  } catch {
    return undefined;
  }
  // The second field is a name in parentheses, which may have anything in it.
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  const at = (field: number) => Number(fields[field - 3]);
  return {
    parent: at(4),
    own: at(14) + at(15),
    ended: at(16) + at(17),
    residentPages: at(24),
  };
}
