import { once } from "node:events";
import { createServer } from "node:net";

/** Rejects as listening would, where the port cannot be had. */
export async function requireFreePort(host: string, port: number): Promise<void> {
  const server = createServer().listen({ host, port });
  await once(server, "listening");
  server.close();
  await once(server, "close");
}
