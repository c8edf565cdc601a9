import { setTimeout as delay } from "node:timers/promises";
import { MethodOptions_IdempotencyLevel } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError, type Interceptor } from "@connectrpc/connect";
import { ApiKeyService } from "../gen/latchkey/v1/api_key_pb.ts";
import { UserService } from "../gen/latchkey/v1/user_pb.ts";

/** How long a replica that is ending, or a database that changes hands, has to come back. */
const PAUSE_MILLIS = 500;

/**
 * Makes a call once more where the service was away, if to make it twice does nothing: reads, creates under an
 * idempotency key, and imports, of which the contract says so.
 */
export function retryOnce(): Interceptor {
  return (next) => async (request) => {
    try {
      return await next(request);
    } catch (error) {
      const isSafe =
        request.method.idempotency === MethodOptions_IdempotencyLevel.NO_SIDE_EFFECTS ||
        request.method === ApiKeyService.method.importApiKeys ||
        request.method === UserService.method.importUsers ||
        ("idempotencyKey" in request.message && request.message.idempotencyKey !== "");
      if (!isSafe || ConnectError.from(error).code !== Code.Unavailable) {
        throw error;
      }
      await delay(PAUSE_MILLIS, undefined, { signal: request.signal });
      return await next(request);
    }
  };
}
