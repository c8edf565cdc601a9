import type { Cores } from "./cores.ts";
import type { Database } from "./fixture/database.ts";
import type { LatchkeyOptions } from "./fixture/latchkey.ts";
import type { Population } from "./fixture/populate.ts";
import type { Server } from "./fixture/server.ts";
import type { Figure } from "./report.ts";

/** What every part works with. */
export interface Bench {
  readonly database: Database;
  /** The database that Latchkey runs on. */
  readonly databaseName: string;
  readonly population: Population;
  readonly cores: Cores;
  /** Short rounds, for work on the measurements themselves. */
  readonly isQuick: boolean;
  /** Of verification, the only rows that are to be measured. */
  readonly rows: readonly string[] | undefined;
  /** Where their servers write a CPU profile. */
  readonly profileFolder: string | undefined;
  readonly startLatchkey: (
    name: string,
    options?: Partial<Pick<LatchkeyOptions, "databaseUrl" | "through" | "nodeOptions" | "args">>,
  ) => Promise<Server>;
  /** Says what is going on. */
  readonly say: (line: string) => void;
}

/** What a part has found out. */
export interface Findings {
  readonly figures: readonly Figure[];
  /** Tables for people. */
  readonly tables: readonly Table[];
  /** Everything, for programs. */
  readonly raw: unknown;
}

export interface Table {
  readonly title: string;
  readonly head: readonly string[];
  readonly rows: readonly (readonly string[])[];
  readonly notes?: readonly string[];
}

export type Part = (bench: Bench) => Promise<Findings>;
