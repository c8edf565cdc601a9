const EVERY_MILLIS = 500;

/**
 * Resolves when npm, whose child this process is under `npm start`, has ended without telling: `kill -9`
 * of npm must not leave a service behind. Never resolves for a process that npm did not start.
 */
export function parentEnded(): Promise<string> {
  const { promise, resolve } = Promise.withResolvers<string>();
  const parent = process.ppid;
  if (process.env["npm_lifecycle_event"] !== undefined) {
    setInterval(() => {
      if (process.ppid !== parent) {
        resolve("npm has ended");
      }
    }, EVERY_MILLIS).unref();
  }
  return promise;
}
