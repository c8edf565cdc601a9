// A port to test, and clients of it that see what is on the wire, for plaintext and for TLS alike.
import assert from "node:assert/strict";
import { subscribe } from "node:diagnostics_channel";
import { EventEmitter, once } from "node:events";
import { type ClientHttp2Session, type ClientHttp2Stream, connect as connectHttp2 } from "node:http2";
import { connect, type Socket } from "node:net";
import type { TestContext } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { type ConnectionOptions, connect as connectTls } from "node:tls";
import type { NodeHandler } from "../../src/server/node-handler.ts";
import { listenOnePort, type OnePort, type OnePortOptions } from "../../src/server/one-port.ts";
import { readTls } from "../../src/server/tls-files.ts";
import { createAuthority } from "./certificates.ts";

export const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
export const get = (path: string) => `GET ${path} HTTP/1.1\r\nHost: latchkey.test\r\n\r\n`;

/** Answers with what it saw. */
export const echo: NodeHandler = async (request, response) => {
  let body = "";
  for await (const chunk of request) body += chunk;
  const { httpVersion, method, url, rawHeaders } = request;
  response.end(JSON.stringify({ httpVersion, method, url, rawHeaders, body }));
};

export type Response = Parameters<NodeHandler>[1];

/** Lets each call wait until the test answers it. */
export function held() {
  const calls: Parameters<NodeHandler>[] = [];
  const arrivals = new EventEmitter();
  const response = (index: number) => calls[index]?.[1] ?? assert.fail(`call ${index} has not come`);
  return {
    calls,
    handler: ((...call) => {
      calls.push(call);
      arrivals.emit("arrival");
    }) satisfies NodeHandler,
    async arrived(count = 1) {
      while (calls.length < count) await once(arrivals, "arrival");
    },
    response,
    begin: (text: string, index = 0) => (response(index) as NodeJS.WritableStream).write(text),
    answer: (text: string, index = 0) => response(index).end(text),
  };
}

export type Options = Partial<Omit<OnePortOptions, "port">>;

export async function open(t: TestContext, options: Options = {}): Promise<OnePort> {
  const server = await listenOnePort({ host: "127.0.0.1", port: 0, handler: echo, ...options });
  t.after(() => server.close(0));
  return server;
}

/** The server's ends of the TCP connections, by the client's port. */
export const serverEnds = new Map<number | undefined, Socket>();
subscribe("net.server.socket", (message) => {
  const { socket } = message as { socket: Socket };
  const { remotePort } = socket;
  serverEnds.set(remotePort, socket);
  socket.once("close", () => serverEnds.delete(remotePort));
});

/** Until the server has closed its end, whatever the client's looks like. */
export async function serverEndCloses(client: Client): Promise<void> {
  while (serverEnds.has(client.port)) await turn();
}

export type Client = Awaited<ReturnType<typeof dialTcp>>;

/** A TCP client that keeps what it is told. */
export async function dialTcp(server: OnePort) {
  const socket = connect({ port: server.port, host: server.address, noDelay: true, allowHalfOpen: true });
  await once(socket, "connect");
  return watch(socket, socket);
}

/** The same within TLS. Rejects with what became of the handshake. */
export async function dialTls(server: OnePort, options: ConnectionOptions = {}): Promise<Client> {
  const tcp = connect({ port: server.port, host: server.address, noDelay: true, allowHalfOpen: true });
  const socket = connectTls({ socket: tcp, host: server.address, ca: authority.cert, ...options });
  await once(socket, "secureConnect");
  return watch(tcp, socket);
}

function watch<S extends Socket>(tcp: Socket, socket: S) {
  const port = tcp.localPort;
  const closed = new Promise<void>((resolve) => socket.once("close", () => resolve()));
  let received = Buffer.alloc(0);
  socket.on("data", (chunk) => {
    received = Buffer.concat([received, chunk]);
  });
  socket.on("error", () => {});
  socket.on("end", () => socket.end());
  const client = {
    socket: socket as Socket,
    port,
    closed,
    received: () => received.toString("latin1"),
    bytes: () => received,
    reset: () => tcp.resetAndDestroy(),
    async until(pattern: RegExp): Promise<string> {
      while (!pattern.test(client.received())) {
        assert.ok(!socket.destroyed, `closed before ${pattern}: ${client.received()}`);
        await Promise.race([once(socket, "data"), closed]);
      }
      return client.received();
    },
    /** Sends, and waits until the server has read it, so that the next piece comes apart. */
    async send(text: string | Buffer): Promise<void> {
      await new Promise((sent) => socket.write(text, "latin1", sent));
      // What TLS makes of it is counted too.
      while ((serverEnds.get(port)?.bytesRead ?? 0) < tcp.bytesWritten && !socket.destroyed) await turn();
    },
    /** All that comes until the server closes. */
    async rest(): Promise<string> {
      await closed;
      return client.received();
    },
  };
  return client;
}

/** Who made the certificates of the ports here. */
export const authority = createAuthority();
const identity = authority.issue();
export const tls = await readTls({ ...identity, clientCertificates: "required" });

/** What a port can be reached by: the same is promised for all of them. */
export interface Wire {
  readonly name: string;
  open(t: TestContext, options?: Options): Promise<OnePort>;
  dial(server: OnePort): Promise<Client>;
  /** For who writes HTTP/2's frames by hand. */
  dialHttp2(server: OnePort): Promise<Client>;
  /** An HTTP/2 client with node's own manners. */
  session(t: TestContext, server: OnePort): ClientHttp2Session;
}

export const WIRES: readonly Wire[] = [
  { name: "plaintext", open, dial: dialTcp, dialHttp2: dialTcp, session: sessionOver("http") },
  {
    name: "TLS",
    open: (t, options) => open(t, { tls, ...options }),
    dial: (server) => dialTls(server),
    dialHttp2: (server) => dialTls(server, { ALPNProtocols: ["h2"] }),
    session: sessionOver("https"),
  },
];

export function sessionOver(scheme: "http" | "https", options: ConnectionOptions = {}): Wire["session"] {
  return (t, server) => {
    const url = `${scheme}://${server.address}:${server.port}`;
    const client = connectHttp2(url, { ca: authority.cert, ...options });
    client.on("error", () => {});
    t.after(() => client.destroy());
    return client;
  };
}

export interface Answer {
  status: number | undefined;
  body: string;
  /** The stream's error, for an answer that did not come whole. */
  error: Error | undefined;
  code: number | undefined;
}

export async function answerOf(stream: ClientHttp2Stream): Promise<Answer> {
  const answer: Answer = { status: undefined, body: "", error: undefined, code: undefined };
  stream.on("response", (headers) => {
    answer.status = headers[":status"];
  });
  stream.on("data", (chunk) => {
    answer.body += chunk;
  });
  stream.on("error", (error) => {
    answer.error = error;
  });
  await new Promise((resolve) => stream.once("close", resolve));
  answer.code = stream.rstCode;
  return answer;
}

export const call = (client: ClientHttp2Session, headers: Record<string, string | string[]> = {}) =>
  answerOf(client.request({ ":path": "/", ...headers }));

export async function stillServes(server: OnePort, dial: Wire["dial"] = dialTcp): Promise<void> {
  const client = await dial(server);
  client.socket.write(get("/alive"));
  await client.until(/alive/);
  client.socket.destroy();
}

/** Values of one header in rawHeaders, which has names and values in turn. */
export const rawValues = (rawHeaders: string[], name: string) =>
  rawHeaders.filter((_, at) => at % 2 === 1 && rawHeaders[at - 1]?.toLowerCase() === name);
