import { once } from "node:events";
import type { AddressInfo, Server } from "node:net";

/** Listens on a port of each server's own, tells them on standard output, and ends with whoever started it. */
export async function announce(servers: Readonly<Record<string, Server>>): Promise<void> {
  const ports: Record<string, number> = {};
  for (const [name, server] of Object.entries(servers)) {
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    ports[name] = (server.address() as AddressInfo).port;
  }
  process.stdout.write(`${JSON.stringify({ ports })}\n`);
  process.stdin.on("end", () => process.exit()).resume();
}

/** The file of answers, which whoever starts a baseline names. */
export function answersPath(): string {
  const [, , path] = process.argv;
  if (path === undefined) {
    throw new Error("a baseline is started with the path of its answers");
  }
  return path;
}
