import type { Socket } from "node:net";
import { createServer, type TLSSocket } from "node:tls";
import type { Tls } from "./tls-files.ts";
import { secureContextOptions } from "./tls-protocol.ts";
import { type TlsNews, type TlsWatch, watchTls } from "./tls-watch.ts";

/** Takes TCP connections through their handshakes. Closes those that fail, which is news to nobody. */
export function tlsDoor(tls: Tls, handshakeMs: number, news: TlsNews) {
  const { settings, pem } = tls;
  const waiting = new Map<string, (secure: TLSSocket, isHttp2: boolean) => void>();

  const server = createServer({
    ...secureContextOptions(pem),
    // RFC 7301 §3.2: a client that offers others only is refused; one without ALPN speaks HTTP/1.1.
    ALPNProtocols: ["h2", "http/1.1"],
    // From the beginning to the end: what comes in between does not prolong it.
    handshakeTimeout: handshakeMs,
    requestCert: settings.clientCaFile !== undefined,
    rejectUnauthorized: settings.clientCertificates === "required",
  });

  server.on("tlsClientError", (_error, secure) => secure.destroy());

  server.on("secureConnection", (secure) => {
    const connection = connectionOf(secure);
    const accept = waiting.get(connection);
    waiting.delete(connection);
    const isImpostor = secure.authorizationError && secure.getPeerX509Certificate() !== undefined;
    if (accept === undefined || isImpostor) secure.destroy();
    else accept(secure, secure.alpnProtocol === "h2");
  });

  let watch: TlsWatch | undefined;
  return {
    start(): void {
      watch = watchTls(tls, {
        ...news,
        onRenewed(renewed) {
          // For the handshakes that begin from now on.
          server.setSecureContext(secureContextOptions(renewed.pem));
          news.onRenewed(renewed);
        },
      });
    },
    stop: () => watch?.stop(),
    renew: async () => watch?.look(),
    accept(socket: Socket, accepted: (secure: TLSSocket, isHttp2: boolean) => void): void {
      const connection = connectionOf(socket);
      waiting.set(connection, accepted);
      socket.once("close", () => {
        if (waiting.get(connection) === accepted) waiting.delete(connection);
      });
      server.emit("connection", socket);
    },
  };
}

/** Node does not tell which socket a TLSSocket stands on; but no two that are open have the same two ends. */
function connectionOf({ localAddress, localPort, remoteAddress, remotePort }: Socket): string {
  return [localAddress, localPort, remoteAddress, remotePort].join(" ");
}
