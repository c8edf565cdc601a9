import { type DescMessage, type MessageShape, toBinary } from "@bufbuild/protobuf";
import { createValidator } from "@bufbuild/protovalidate";
import { type ImportRow, RowFault } from "./import-rows.ts";

/** What one call takes: `ImportApiKeys` and `ImportUsers` say so. */
const MOST_ITEMS = 10_000;
const MOST_ORGANIZATIONS = 1_000;
const MOST_BYTES = 4 * 1024 * 1024;
/** Of what surrounds an item in the message: its tag and its length. */
const ITEM_OVERHEAD = 6;
/** Of what stands beside the items: ids, the format, the hashing. */
const REQUEST_OVERHEAD = 1024;

/**
 * Parts the rows so that no call is too large, in the order of the file. Those that cannot be sent stay between
 * the others; so does a row that the contract's own rules refuse.
 *
 * @param schema of what a row is sent as.
 * @param organizationOf what a row is about, where rows differ in that.
 */
export async function* batchRows<Schema extends DescMessage>(
  rows: AsyncIterable<ImportRow<MessageShape<Schema>>>,
  schema: Schema,
  organizationOf: (item: MessageShape<Schema>) => string = () => "",
): AsyncGenerator<readonly ImportRow<MessageShape<Schema>>[]> {
  type Row = ImportRow<MessageShape<Schema>>;
  const validator = createValidator({ failFast: true });
  let batch: Row[] = [];
  let bytes = REQUEST_OVERHEAD;
  let organizations = new Set<string>();
  for await (const row of rows) {
    const size = row.item === undefined ? 0 : toBinary(schema, row.item).length + ITEM_OVERHEAD;
    const checked = checkRow(row, size);
    const { item } = checked;
    const isFull =
      item !== undefined &&
      (bytes + size > MOST_BYTES ||
        (organizations.size >= MOST_ORGANIZATIONS && !organizations.has(organizationOf(item))));
    if (batch.length >= MOST_ITEMS || isFull) {
      yield batch;
      batch = [];
      bytes = REQUEST_OVERHEAD;
      organizations = new Set();
    }
    batch.push(checked);
    if (item !== undefined) {
      bytes += size;
      organizations.add(organizationOf(item));
    }
  }
  if (batch.length > 0) {
    yield batch;
  }

  function checkRow(row: Row, size: number): Row {
    const { line, name, item } = row;
    if (item === undefined) {
      return row;
    }
    if (REQUEST_OVERHEAD + size > MOST_BYTES) {
      return { line, name, fault: new RowFault("REQUEST_INVALID", "the row is larger than a call may be") };
    }
    // One such row would have the whole call refused, before the rows are looked at one by one.
    const result = validator.validate(schema, item);
    return result.kind === "valid"
      ? row
      : { line, name, fault: new RowFault("REQUEST_INVALID", result.error.message) };
  }
}
