import { mkdirSync, writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import type { Bench, Findings, Part } from "./bench-context.ts";
import { chooseCores } from "./cores.ts";
import { startDatabase, withClient } from "./fixture/database.ts";
import { startLatchkey } from "./fixture/latchkey.ts";
import { populate } from "./fixture/populate.ts";
import { measureLogins } from "./parts/logins.ts";
import { measureMemory } from "./parts/memory.ts";
import { measureRevocationLag } from "./parts/revocation-lag.ts";
import { measureStatements } from "./parts/statements.ts";
import { coldNeeded, measureVerification, ROW_NAMES } from "./parts/verification.ts";
import { measureWorkers } from "./parts/workers.ts";
import { type Figure, figuresTable, formatTable } from "./report.ts";

// `npm run bench`: what a verification costs, and what disturbs it. It starts everything itself. docs/performance.md
// says what is measured, and how.

const RESULTS = fileURLToPath(new URL("results", import.meta.url));
const DATABASE = "latchkey_bench";
const HOT = 10_000;
const REVOCABLE = 1_000;

/** In this order: the last one makes the database larger. */
const PARTS: Readonly<Record<string, Part>> = {
  verification: measureVerification,
  logins: measureLogins,
  workers: measureWorkers,
  statements: measureStatements,
  revocations: measureRevocationLag,
  memory: measureMemory,
};

const USAGE = `npm run bench -- [--quick] [--only <part>] [--row <row>] [--profile <row>]

  --quick           short rounds, for work on the measurements: the figures are rough
  --only <part>     one of ${Object.keys(PARTS).join(", ")}; may be repeated
  --row <row>       one of ${ROW_NAMES.join(", ")}; may be repeated
  --profile <row>   that row alone, whose server writes a CPU profile to bench/results
`;

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      quick: { type: "boolean", default: false },
      only: { type: "string", multiple: true },
      row: { type: "string", multiple: true },
      profile: { type: "string" },
      help: { type: "boolean", default: false },
    },
  });
  const chosenRows = values.profile === undefined ? values.row : [values.profile];
  const chosen = chosenRows === undefined ? (values.only ?? Object.keys(PARTS)) : ["verification"];
  const unknown = [
    ...chosen.filter((name) => !Object.hasOwn(PARTS, name)),
    ...(chosenRows ?? []).filter((row) => !ROW_NAMES.includes(row)),
  ];
  if (values.help || unknown.length > 0) {
    process.stderr.write(USAGE);
    process.exitCode = values.help ? 0 : 1;
    return;
  }
  if (process.platform !== "linux") {
    throw new Error("CPU time and memory are read from /proc: it needs Linux");
  }
  const began = performance.now();
  const say = (line: string) =>
    process.stderr.write(`${((performance.now() - began) / 1000).toFixed(1).padStart(6)} s  ${line}\n`);
  const cores = chooseCores();
  cores.pin();
  await using started = new AsyncDisposableStack();
  const database = await startDatabase();
  started.defer(() => database.stop());
  await withClient(database.connectionTo("postgres"), (client) =>
    client.query(`create database ${DATABASE}`),
  );
  say("PostgreSQL runs");
  const sizes = { hot: HOT, cold: coldNeeded(values.quick), revocable: REVOCABLE };
  const population = await populate(database.connectionTo(DATABASE), sizes, say);
  const bench: Bench = {
    database,
    databaseName: DATABASE,
    population,
    cores,
    isQuick: values.quick,
    rows: chosenRows,
    profileFolder: values.profile === undefined ? undefined : RESULTS,
    startLatchkey: (name, options = {}) =>
      startLatchkey({
        population,
        databaseUrl: database.urlOf(DATABASE),
        folder: database.folder,
        name,
        through: cores.server,
        ...options,
      }),
    say,
  };
  const figures: Figure[] = [];
  const all: Record<string, Findings> = {};
  for (const name of chosen) {
    say(`part: ${name}`);
    let findings: Findings;
    try {
      findings = await (PARTS[name] as Part)(bench);
    } catch (error) {
      // What the other parts find is worth having all the same.
      say(`part ${name} failed: ${error instanceof Error ? error.stack : error}`);
      process.exitCode = 1;
      continue;
    }
    for (const table of findings.tables) {
      process.stdout.write(formatTable(table));
    }
    figures.push(...findings.figures);
    all[name] = findings;
    keep(all, cores.about, values.quick);
  }
  if (figures.length > 0) {
    process.stdout.write(formatTable(figuresTable(figures)));
  }
  process.stdout.write(`\n${machine()}; ${cores.about}.${values.quick ? " Short rounds: rough." : ""}\n`);
}

function machine(): string {
  return `Node ${process.version}, ${cpus()[0]?.model ?? "?"}, ${cpus().length} cores`;
}

function keep(parts: Readonly<Record<string, Findings>>, cores: string, isQuick: boolean): void {
  const path = join(RESULTS, "latest.json");
  mkdirSync(dirname(path), { recursive: true });
  const time = new Date().toISOString();
  writeFileSync(path, `${JSON.stringify({ time, machine: machine(), cores, isQuick, parts }, null, 2)}\n`);
}

await main();
