import assert from "node:assert/strict";
import { after } from "node:test";
import type { JsonValue } from "@bufbuild/protobuf";
import type { TestService } from "../support/service.ts";
import { openDatabasePrint } from "./database-print.ts";
import { assertOutcomes, type Row } from "./outcomes.ts";
import { callHttp1, type Field, verdictOf } from "./raw-call.ts";

/** Calls that are refused, and write nothing. */
export async function refusals(service: TestService) {
  const print = await openDatabasePrint(service.connection);
  after(() => print.end());

  return {
    /** Tries the rows, none of which may write anything. */
    async assertRefused<Case extends Row>(
      rows: readonly Case[],
      ask: (row: Case) => Promise<string>,
    ): Promise<void> {
      const untouched = await print.take();
      await assertOutcomes(rows, ask);
      assert.deepEqual(await print.take(), untouched, "a call that is refused writes nothing");
    },

    /**
     * One call in JSON, by `Service/Method` or by its whole path.
     *
     * @returns its verdict; where Connect itself refused the message, the code alone. Of an answer that tells of a
     * refusal, that one: an explained decision, the first of a batch, or the first key of an import.
     */
    async call(method: string, body: JsonValue, ...fields: readonly Field[]): Promise<string> {
      const path = method.startsWith("/") ? method : `/latchkey.v1.${method}`;
      const answer = await callHttp1(service.port, path, fields, JSON.stringify(body));
      const verdict = verdictOf(answer).replace(/, no reason: .*/s, "");
      return verdict === "accepted" ? (reasonToldIn(answer.body.toString()) ?? verdict) : verdict;
    },
  };
}

interface Telling {
  readonly reason?: string;
  readonly results?: readonly { readonly reason?: string; readonly error?: Telling }[];
}

function reasonToldIn(answer: string): string | undefined {
  const { reason, results } = JSON.parse(answer) as Telling;
  return reason ?? results?.[0]?.reason ?? results?.[0]?.error?.reason;
}
