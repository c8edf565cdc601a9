import type { DatabaseConnection } from "../../src/storage/database-connection.ts";
import { query } from "../support/cluster.ts";

/** Lets time pass for the signing keys, by setting back every time of theirs. */
export async function passMinutes(connection: DatabaseConnection, minutes: number): Promise<void> {
  const times = ["create", "publish", "activate", "retire", "remove", "revoke"];
  const changes = times.map((each) => `${each}_time = ${each}_time - make_interval(mins => $1)`);
  await query(connection, `update signing_keys set ${changes.join(", ")}`, [minutes]);
}
