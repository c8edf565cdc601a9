import { Code, ConnectError } from "@connectrpc/connect";

/**
 * The items of an iterable until a signal aborts; then it throws the reason of the signal as a ConnectError,
 * also while it waits for an item. Without this a stream that waits for its client hears of no deadline and of
 * no shutdown.
 */
export async function* untilAborted<T>(items: AsyncIterable<T>, signal: AbortSignal): AsyncGenerator<T> {
  const iterator = items[Symbol.asyncIterator]();
  for (;;) {
    const result = await unlessAborted(iterator, signal);
    if (result.done === true) {
      return;
    }
    yield result.value;
  }
}

// Not Promise.race with one promise for the signal: it would keep a reaction for each item that ever came.
function unlessAborted<T>(iterator: AsyncIterator<T>, signal: AbortSignal): Promise<IteratorResult<T>> {
  return new Promise((resolve, reject) => {
    const abort = () => reject(ConnectError.from(signal.reason, Code.Canceled));
    if (signal.aborted) {
      abort();
      return;
    }
    signal.addEventListener("abort", abort, { once: true });
    iterator
      .next()
      .then(resolve, reject)
      .finally(() => signal.removeEventListener("abort", abort));
  });
}
