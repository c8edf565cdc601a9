// A program of somebody else's: it verifies tokens with jose, by the published keys alone and with the cache that
// jose has by itself. It is told how late it is, since nobody waits for hours.

import { createInterface } from "node:readline";
import { createRemoteJWKSet, jwtVerify } from "jose";

/** A line of standard input. */
export interface Question {
  readonly token: string;
  /** By how many minutes its clock goes ahead. */
  readonly minutes: number;
}

const [url = "", issuer = ""] = process.argv.slice(2);
const keys = createRemoteJWKSet(new URL(url));
const realNow = Date.now;

for await (const line of createInterface({ input: process.stdin })) {
  const { token, minutes } = JSON.parse(line) as Question;
  const currentDate = new Date(realNow());
  Date.now = () => realNow() + minutes * 60_000;
  const outcome = await jwtVerify(token, keys, { issuer, audience: issuer, typ: "at+jwt", currentDate }).then(
    () => "verified",
    (error: { code?: string }) => error.code ?? String(error),
  );
  process.stdout.write(`${outcome}\n`);
}
