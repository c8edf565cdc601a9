import { toBinary } from "@bufbuild/protobuf";
import { createValidator } from "@bufbuild/protovalidate";
import { ApiKeyToImportSchema } from "../gen/latchkey/v1/api_key_pb.ts";
import { type ImportRow, RowFault } from "./import-rows.ts";

/** What one call takes: `ImportApiKeys` says so. */
const MOST_KEYS = 10_000;
const MOST_BYTES = 4 * 1024 * 1024;
/** Of what surrounds a key in the message: its tag and its length. */
const KEY_OVERHEAD = 6;
/** Of what stands beside the keys: ids, the format, the hashing. */
const REQUEST_OVERHEAD = 1024;

/**
 * Parts the rows so that no call is too large, in the order of the file. Those that cannot be sent stay between
 * the others; so does a row that the contract's own rules refuse.
 */
export async function* batchRows(rows: AsyncIterable<ImportRow>): AsyncGenerator<readonly ImportRow[]> {
  const validator = createValidator({ failFast: true });
  let batch: ImportRow[] = [];
  let bytes = REQUEST_OVERHEAD;
  for await (const row of rows) {
    const size = row.key === undefined ? 0 : toBinary(ApiKeyToImportSchema, row.key).length + KEY_OVERHEAD;
    const checked = checkRow(row, size);
    const isKey = checked.key !== undefined;
    if (batch.length >= MOST_KEYS || (isKey && bytes + size > MOST_BYTES)) {
      yield batch;
      batch = [];
      bytes = REQUEST_OVERHEAD;
    }
    batch.push(checked);
    bytes += isKey ? size : 0;
  }
  if (batch.length > 0) {
    yield batch;
  }

  function checkRow(row: ImportRow, size: number): ImportRow {
    const { line, name, key } = row;
    if (key === undefined) {
      return row;
    }
    if (REQUEST_OVERHEAD + size > MOST_BYTES) {
      return { line, name, fault: new RowFault("REQUEST_INVALID", "the row is larger than a call may be") };
    }
    // One such row would have the whole call refused, before the rows are looked at one by one.
    const result = validator.validate(ApiKeyToImportSchema, key);
    return result.kind === "valid"
      ? row
      : { line, name, fault: new RowFault("REQUEST_INVALID", result.error.message) };
  }
}
