import type { MessageInitShape } from "@bufbuild/protobuf";
import type { AuthError, Reason } from "../../errors.ts";
import { ImportOutcome, type ImportResultSchema } from "../../gen/latchkey/v1/api_key_pb.ts";
import type { ImportedOutcome } from "./import-api-keys.ts";

const OUTCOMES = {
  imported: ImportOutcome.IMPORTED,
  unchanged: ImportOutcome.UNCHANGED,
  refused: ImportOutcome.REFUSED,
  skipped: ImportOutcome.SKIPPED,
} as const;

/** Of a message, in characters: ten thousand of them are one answer. */
const MOST_MESSAGE = 300;

/** Which of the fault's details tell what to do about it. */
const TOLD: Readonly<Partial<Record<Reason, string>>> = {
  PERMISSION_UNKNOWN: "unknown",
  PERMISSION_NOT_HELD: "not_held",
};

/** What an import answers: one result for each row, and how many there are of which. */
export interface ImportAnswer {
  readonly results: MessageInitShape<typeof ImportResultSchema>[];
  readonly imported: number;
  readonly unchanged: number;
  readonly refused: number;
}

export function importAnswer(outcomes: readonly ImportedOutcome[]): ImportAnswer {
  const count = (outcome: ImportedOutcome["outcome"]) =>
    outcomes.filter((each) => each.outcome === outcome).length;
  return {
    results: outcomes.map((each) => ({
      id: "id" in each ? (each.id ?? "") : "",
      outcome: OUTCOMES[each.outcome],
      ...("fault" in each && { reason: each.fault.reason, message: messageOf(each.fault) }),
    })),
    imported: count("imported"),
    unchanged: count("unchanged"),
    refused: count("refused"),
  };
}

function messageOf({ reason, message, metadata }: AuthError): string {
  const detail = metadata[TOLD[reason] ?? ""];
  return (detail === undefined ? message : `${message} (${detail})`).slice(0, MOST_MESSAGE);
}
