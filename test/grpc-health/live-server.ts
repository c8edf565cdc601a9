import { once } from "node:events";
import { createServer as createHttp1Server } from "node:http";
import { createServer, type ServerHttp2Session } from "node:http2";
import type { AddressInfo } from "node:net";
import type { TestContext } from "node:test";
import { connectNodeAdapter } from "@connectrpc/connect-node";

type ServerOptions = Parameters<typeof connectNodeAdapter>[0];

/** Serves the routes over HTTP/2 without TLS on a free port until the test ends. */
export async function serveHttp2(t: TestContext, options: ServerOptions) {
  const sessions = new Set<ServerHttp2Session>();
  const server = createServer(connectNodeAdapter(options)).on("session", (session) => {
    sessions.add(session);
    session.once("close", () => sessions.delete(session));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;

  t.after(() => {
    for (const session of sessions) {
      session.destroy();
    }
    server.close();
  });

  return {
    url: `http://127.0.0.1:${port}`,
    /** Sends GOAWAY, lets open streams finish, and settles when all are done: what a drain does. */
    async drain() {
      const closed = once(server, "close");
      server.close();
      for (const session of sessions) {
        session.close();
      }
      await closed;
    },
  };
}

/** Serves the routes over HTTP/1.1 on a free port until the test ends, and answers with the URL. */
export async function serveHttp1(t: TestContext, options: ServerOptions): Promise<string> {
  const server = createHttp1Server(connectNodeAdapter(options));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}
