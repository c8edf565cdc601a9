import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { timestampDate } from "@bufbuild/protobuf/wkt";
import { digestOf } from "../baselines/lookup.ts";
import type { Bench } from "../bench-context.ts";
import { withClient } from "../fixture/database.ts";
import { type Server, startServer } from "../fixture/server.ts";
import { closedLoop } from "../load/closed-loop.ts";
import type { Answer } from "../load/connection.ts";
import { prepare } from "../load/fleet.ts";
import { aboutApiKey, checkAnswer, decode, encode } from "../questions.ts";
import { destinationAt, MULTIPLEXED, once, openFleet } from "./asking.ts";

// What Latchkey is compared with: servers that know its own answers.

export const BASELINES = ["bare-http2", "bare-http1", "grpc-js", "connect-node", "select"] as const;
export type Baseline = (typeof BASELINES)[number];

const DATABASE = "bench_answers";

/** Asks Latchkey about every API key, checks each answer, and gives them to those that it is compared with. */
export async function collectAnswers(bench: Bench, latchkey: Server): Promise<string> {
  const path = join(bench.database.folder, "answers.txt");
  const destination = destinationAt(bench, latchkey, "grpc");
  const answers: { readonly key: string; readonly message: Buffer }[] = [];
  const fleet = await openFleet(destination, MULTIPLEXED);
  const asked = bench.population.apiKeys.map((key) => {
    const question = aboutApiKey(key);
    const keep = (answer: Answer) => {
      checkAnswer("grpc", question, answer);
      answers.push({ key: key.text, message: Buffer.from(answer.message) });
    };
    return prepare(destination, encode("grpc", question.message), true, keep);
  });
  fleet.checkAll();
  await closedLoop(fleet, once(asked), {});
  await fleet.close();
  writeFileSync(path, answers.map(({ key, message }) => `${key} ${message.toString("base64")}\n`).join(""));
  await fillTable(bench, answers);
  return path;
}

/** The same answers, a row each, for the server that looks them up in a database. */
async function fillTable(
  { database }: Bench,
  answers: readonly { readonly key: string; readonly message: Buffer }[],
): Promise<void> {
  await withClient(database.connectionTo("postgres"), (client) =>
    client.query(`create database ${DATABASE}`),
  );
  await withClient(database.connectionTo(DATABASE), async (client) => {
    await client.query(
      `create table answers (digest text primary key, id uuid, name text, organization_id uuid,
         organization_name text, organization_create_time timestamptz, permissions text[], strip_headers text[])`,
    );
    const rows = answers.map(({ key, message }) => {
      const { principal, organization, permissions, stripHeaders } = decode("grpc", message);
      return {
        digest: digestOf(key),
        id: principal?.id,
        name: principal?.displayName,
        organization_id: organization?.id,
        organization_name: organization?.name,
        organization_create_time: organization?.createTime && timestampDate(organization.createTime),
        permissions,
        strip_headers: stripHeaders,
      };
    });
    await client.query(
      `insert into answers
       select r.digest, r.id, r.name, r.organization_id, r.organization_name, r.organization_create_time,
         r.permissions, r.strip_headers
       from jsonb_to_recordset($1) as r (digest text, id uuid, name text, organization_id uuid,
         organization_name text, organization_create_time timestamptz, permissions text[], strip_headers text[])`,
      [JSON.stringify(rows)],
    );
    await client.query("vacuum analyze answers");
  });
}

export async function startBaseline(
  { database, cores }: Bench,
  name: Baseline,
  answersPath: string,
  nodeOptions: readonly string[] = [],
): Promise<Server> {
  const given = name === "select" ? database.urlOf(DATABASE) : answersPath;
  return await startServer([`bench/baselines/${name}.ts`, given], {
    through: cores.server,
    nodeOptions,
    logPath: join(database.folder, `${name}.log`),
    ends: "with its input",
    portsOf: (said) => {
      const line = /^\{"ports":.*\}$/m.exec(said)?.[0];
      return line === undefined ? undefined : (JSON.parse(line) as { ports: Record<string, number> }).ports;
    },
  });
}
