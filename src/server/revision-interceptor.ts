import type { DescMethod } from "@bufbuild/protobuf";
import { reflect } from "@bufbuild/protobuf/reflect";
import type { Interceptor } from "@connectrpc/connect";
import { runNoting } from "../changes/call-changes.ts";
import { writeRevision } from "../changes/revision.ts";
import { AuthenticationService } from "../gen/latchkey/v1/authentication_pb.ts";

/**
 * Tells, in the answer of each call that changes something, the revision with the change.
 *
 * @param epochOf of the history that transactions are of; undefined while it is not known.
 */
export function createRevisionInterceptor(epochOf: () => string | undefined): Interceptor {
  return (next) => async (request) => {
    const field = revisionOf(request.method);
    if (request.stream || field === undefined) {
      return await next(request);
    }
    const noted: string[] = [];
    const response = await runNoting(noted, async () => await next(request));
    const epoch = epochOf();
    if (!response.stream && noted.length > 0 && epoch !== undefined) {
      const xids = [...new Set(noted)].map(BigInt);
      reflect(request.method.output, response.message).set(field, writeRevision({ epoch, xids }));
    }
    return response;
  };
}

/** An answer about a credential says itself up to where it takes changes into account. */
function revisionOf({ parent, output }: DescMethod) {
  return parent.typeName === AuthenticationService.typeName ? undefined : output.field["revision"];
}
