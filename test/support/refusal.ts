import assert from "node:assert/strict";
import { Code, ConnectError } from "@connectrpc/connect";
import { REASONS, type Reason } from "../../src/errors.ts";
import { ErrorInfoSchema } from "../../src/gen/google/rpc/error_details_pb.ts";

/** Waits for a call to be refused, with this reason, its code, and Latchkey's domain. */
export async function refusedWith(reason: Reason, call: Promise<unknown>): Promise<ConnectError> {
  const error = await call.then(
    (answer) => assert.fail(`expected ${reason}, was answered ${JSON.stringify(answer, bigintSafe)}`),
    (thrown: unknown) => ConnectError.from(thrown),
  );
  const infos = error.findDetails(ErrorInfoSchema);
  assert.deepEqual(
    { code: Code[error.code], reasons: infos.map((info) => `${info.domain}/${info.reason}`) },
    { code: Code[codeOf(reason)], reasons: [`latchkey/${reason}`] },
    error.message,
  );
  return error;
}

/** What a call was refused with, or undefined where it was answered. */
export async function reasonOf(call: Promise<unknown>): Promise<string | undefined> {
  return await call.then(
    () => undefined,
    (thrown: unknown) => {
      const error = ConnectError.from(thrown);
      return error.findDetails(ErrorInfoSchema)[0]?.reason ?? `no reason: ${error.message}`;
    },
  );
}

export function codeOf(reason: Reason): Code {
  const name = REASONS[reason].code.replace(/(^|_)([a-z])/g, (_, _start, letter: string) =>
    letter.toUpperCase(),
  );
  return Code[name as keyof typeof Code];
}

function bigintSafe(_key: string, value: unknown): unknown {
  return typeof value === "bigint" ? String(value) : value;
}
