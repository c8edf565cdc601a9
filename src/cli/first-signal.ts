/** Ctrl-C reaches this process from the terminal and, once more, by npm: within this time it is one wish. */
const ONE_WISH_MILLIS = 500;

/**
 * Resolves at the first SIGINT or SIGTERM, with its name. A later one ends the process at once.
 *
 * @param onLast is told of that one before, for whoever has others to tell.
 */
export function firstSignal(onLast: (name: NodeJS.Signals) => void = () => {}): Promise<string> {
  const { promise, resolve } = Promise.withResolvers<string>();
  let since: number | undefined;
  for (const name of ["SIGINT", "SIGTERM"] as const) {
    process.on(name, () => {
      since ??= performance.now();
      if (performance.now() - since > ONE_WISH_MILLIS) {
        onLast(name);
        process.removeAllListeners(name);
        process.kill(process.pid, name);
      }
      resolve(name);
    });
  }
  return promise;
}
