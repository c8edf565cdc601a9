import { Code, ConnectError, type Interceptor } from "@connectrpc/connect";
import { runCancellable } from "../storage/cancellation.ts";

/**
 * Gives up a call's work when its deadline passes or its client hangs up: what it asks of the database is
 * cancelled there. The service's own end does not give up calls in flight: a drain is there to answer them.
 */
export function createCancellationInterceptor(shutdown: AbortSignal): Interceptor {
  return (next) => (request) => {
    if (request.stream) {
      return next(request);
    }
    const givenUp = new AbortController();
    request.signal.addEventListener(
      "abort",
      () => {
        if (request.signal.reason !== shutdown.reason) {
          givenUp.abort(request.signal.reason);
        }
      },
      { once: true },
    );
    return runCancellable(givenUp.signal, async () => {
      try {
        return await next(request);
      } catch (thrown) {
        throw givenUp.signal.aborted ? ConnectError.from(givenUp.signal.reason, Code.Canceled) : thrown;
      }
    });
  };
}
