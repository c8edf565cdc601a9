import { durationMs } from "@bufbuild/protobuf/wkt";
import { Code, type ConnectError } from "@connectrpc/connect";
import { ErrorInfoSchema, RetryInfoSchema } from "../gen/google/rpc/error_details_pb.ts";
import { OrganizationChoicesSchema } from "../gen/latchkey/v1/token_pb.ts";
import { CommandError } from "./command-error.ts";

/** What to do about it here, where the reason's own message speaks of the API. */
const HINTS: Readonly<Record<string, readonly string[]>> = {
  CREDENTIAL_MISSING: ["give it by LATCHKEY_CREDENTIAL or --credential-file"],
  ORGANIZATION_REQUIRED: ["--org <id> does so"],
  ROTATION_IN_PROGRESS: ["`finish-rotation` and `cancel-rotation` do so"],
};

/** A call that was refused, or had no answer. */
export class CallError extends CommandError {
  override readonly name: string = "CallError";
  readonly code: Code;
  /** Of the catalogue. Undefined: the answer is none of Latchkey's, or there is none. */
  readonly reason: string | undefined;
  /** What the service said, without what is added here. */
  readonly said: string;
  readonly metadata: Readonly<Record<string, string>>;

  constructor(error: ConnectError) {
    const [info] = error.findDetails(ErrorInfoSchema);
    const { metadata = {}, reason } = info ?? {};
    super(reason === undefined ? unanswered(error) : refused(error, reason, metadata));
    this.code = error.code;
    this.reason = reason;
    this.said = error.rawMessage;
    this.metadata = metadata;
  }
}

function refused(error: ConnectError, reason: string, metadata: Readonly<Record<string, string>>): string {
  const [retry] = error.findDetails(RetryInfoSchema);
  const [choices] = error.findDetails(OrganizationChoicesSchema);
  const details = [
    ...(choices?.organizations ?? []).map(({ id, name }) => `${name}: ${id}`),
    ...(choices?.truncated ? ["and more"] : []),
    ...Object.entries(metadata).map(([name, value]) => `${name}: ${value}`),
    ...(retry?.retryDelay ? [`again in ${Math.ceil(durationMs(retry.retryDelay) / 1000)} s`] : []),
    ...(HINTS[reason] ?? []),
  ];
  return `${reason}: ${error.rawMessage}${details.length === 0 ? "" : ` (${details.join(", ")})`}`;
}

function unanswered({ code, rawMessage }: ConnectError): string {
  const hint =
    code === Code.Unavailable
      ? "; is it running? LATCHKEY_URL or --url says where"
      : code === Code.Unimplemented
        ? "; is it a Latchkey of this version? LATCHKEY_URL or --url says where"
        : "";
  return `the service did not answer: ${rawMessage}${hint}`;
}
