import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer as createHttp1 } from "node:http";
import { createServer as createHttp2, type ServerHttp2Stream } from "node:http2";
import type { AddressInfo, Server } from "node:net";
import { type TestContext, test } from "node:test";
import type { Answer, Connection } from "../../bench/load/connection.ts";
import { http1Request, openHttp1 } from "../../bench/load/http1-connection.ts";
import { grpcBody, openGrpc } from "../../bench/load/http2-connection.ts";

// A benchmark is worth what its client is: it must send what Node's own servers take, and read what they answer.

const PRINTABLE = String.fromCharCode(...Array.from({ length: 95 }, (_, at) => 0x20 + at)).trim();
const HEADERS = [["x-internal-key", "sk_somebody"]] as const;

async function listen(t: TestContext, server: Server): Promise<number> {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => server.close());
  return (server.address() as AddressInfo).port;
}

async function ask(connection: Connection, request: Buffer, broken: Promise<never>): Promise<Answer> {
  const answered = new Promise<Answer>((resolve) => {
    connection.send(request, ({ status, message }) => resolve({ status, message: Buffer.from(message) }));
  });
  return await Promise.race([answered, broken]);
}

function breakable() {
  const { promise, reject } = Promise.withResolvers<never>();
  promise.catch(() => {});
  return { broken: promise, onBroken: reject };
}

test("the HTTP/2 load reads back every message and status, also past the server's windows", async (t) => {
  const seen = new Set<string>();
  const server = createHttp2();
  server.on("stream", (stream: ServerHttp2Stream, headers) => {
    seen.add(JSON.stringify([headers[":path"], headers["te"], headers["x-internal-key"]]));
    const chunks: Buffer[] = [];
    stream.on("data", (chunk: Buffer) => chunks.push(chunk));
    stream.on("end", () => {
      stream.respond({ ":status": 200, "x-printable": PRINTABLE }, { waitForTrailers: true });
      // What comes before the status must be understood for it to be found.
      stream.on("wantTrailers", () => stream.sendTrailers({ "x-also": PRINTABLE, "grpc-status": "16" }));
      stream.end(Buffer.concat(chunks));
    });
  });
  const port = await listen(t, server);
  const { broken, onBroken } = breakable();
  const connection = await openGrpc({ port, path: "/a.B/C", headers: HEADERS, streams: 5, onBroken });
  const asked = Array.from({ length: 40 }, (_, at) => Buffer.alloc(at % 2 === 0 ? 50_000 : 7, at));
  const answers = await Promise.all(asked.map((message) => ask(connection, grpcBody(message), broken)));
  await connection.close();

  assert.deepEqual(
    answers.map(({ status }) => status),
    asked.map(() => "16"),
  );
  assert.ok(answers.every(({ message }, at) => message.equals(asked[at] as Buffer)));
  assert.deepEqual([...seen], [JSON.stringify(["/a.B/C", "trailers", "sk_somebody"])]);
});

test("the HTTP/2 load reads the status of an answer without a message", async (t) => {
  const server = createHttp2();
  server.on("stream", (stream: ServerHttp2Stream) => {
    stream.respond({ ":status": 200, "grpc-status": "16" }, { endStream: true });
  });
  const port = await listen(t, server);
  const { broken, onBroken } = breakable();
  const connection = await openGrpc({ port, path: "/a.B/C", headers: [], streams: 1, onBroken });
  const { status, message } = await ask(connection, grpcBody(Buffer.from("?")), broken);
  await connection.close();
  assert.equal(status, "16");
  assert.equal(message.length, 0);
});

test("the HTTP/1.1 load reads answers with a length and in chunks", async (t) => {
  const server = createHttp1((request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      const body = Buffer.concat([...chunks, Buffer.from(`${request.headers["x-internal-key"]}`)]);
      if (request.url === "/chunks") {
        response.writeHead(401);
        response.write(body.subarray(0, 10_000));
        response.end(body.subarray(10_000));
      } else {
        response.writeHead(200, { "content-length": body.length }).end(body);
      }
    });
  });
  const port = await listen(t, server);
  const { broken, onBroken } = breakable();
  const connection = await openHttp1({ port, onBroken });
  for (const [path, status] of [
    ["/chunks", "401"],
    ["/length", "200"],
    ["/chunks", "401"],
  ] as const) {
    const body = Buffer.alloc(200_000, path);
    const request = http1Request({ port, path, contentType: "application/proto", headers: HEADERS, body });
    const answer = await ask(connection, request, broken);
    assert.equal(answer.status, status);
    assert.ok(answer.message.equals(Buffer.concat([body, Buffer.from("sk_somebody")])), path);
  }
  await connection.close();
});

test("a server that closes a connection breaks the measurement", async (t) => {
  const server = createHttp1((request) => request.socket.destroy());
  const port = await listen(t, server);
  const { broken, onBroken } = breakable();
  const connection = await openHttp1({ port, onBroken });
  const request = http1Request({
    port,
    path: "/",
    contentType: "application/proto",
    headers: [],
    body: Buffer.alloc(0),
  });
  await assert.rejects(ask(connection, request, broken), /closed a connection/);
});
