const EVERY_MILLIS = 500;

/**
 * Resolves when the process that started this one only to run it has ended without telling: `kill -9` of npm
 * or of the launcher must not leave a service behind. Never resolves for a process that was started otherwise.
 */
export function parentEnded(): Promise<string> {
  const { promise, resolve } = Promise.withResolvers<string>();
  const parent = process.ppid;
  if (process.channel !== undefined) {
    // The launcher's: it must not keep this process alive.
    process.channel?.unref();
    process.once("disconnect", () => resolve("the launcher has ended"));
  } else if (process.env["npm_lifecycle_event"] !== undefined) {
    setInterval(() => {
      if (process.ppid !== parent) {
        resolve("npm has ended");
      }
    }, EVERY_MILLIS).unref();
  }
  return promise;
}
