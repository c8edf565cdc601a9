import { once } from "node:events";
import { type ClientHttp2Session, type ClientSessionOptions, connect as connectHttp2 } from "node:http2";
import { connect } from "node:net";
import { buffer } from "node:stream/consumers";

/** A request, as it goes onto the wire. */
export interface RawRequest {
  readonly path: string;
  readonly fields: readonly (readonly [name: string, value: string])[];
  readonly body: Buffer;
  /** How many bytes of the body are never sent. */
  readonly withheld?: number;
}

/** All that an answer says, but for its date: as text, so that two of them can be compared at a glance. */
export interface Said {
  readonly head: readonly string[];
  readonly body: string;
  readonly trailers: readonly string[];
}

export interface RawClient {
  exchange(request: RawRequest): Promise<Said>;
  close(): void;
}

/** What Node's own client would not send, a field twice, is for the server to judge. */
const LENIENT: ClientSessionOptions & { readonly strictSingleValueFields: boolean } = {
  strictSingleValueFields: false,
};

/** Makes each call on one connection of HTTP/2. */
export function http2Client(port: number): RawClient {
  const session: ClientHttp2Session = connectHttp2(`http://127.0.0.1:${port}`, LENIENT);
  return {
    async exchange({ path, fields, body, withheld = 0 }) {
      const own = [":method", "POST", ":scheme", "http", ":authority", "latchkey.test", ":path", path];
      const stream = session.request([...own, ...fields.flat()]);
      let head: string[] = [];
      let trailers: string[] = [];
      stream.on("response", (_headers, _flags, raw: string[]) => {
        head = raw;
      });
      stream.on("trailers", (_headers, _flags, raw: string[]) => {
        trailers = raw;
      });
      const closed = once(stream, "close");
      stream.write(body.subarray(0, body.length - withheld));
      if (withheld === 0) stream.end();
      const said = await buffer(stream);
      stream.close();
      await closed;
      return { head: linesOf(head), body: said.toString("latin1"), trailers: linesOf(trailers) };
    },
    close: () => session.close(),
  };
}

/** Makes each call on a connection of its own of HTTP/1.1. */
export function http1Client(port: number): RawClient {
  return {
    async exchange({ path, fields, body, withheld = 0 }) {
      const lines = [
        `POST ${path} HTTP/1.1`,
        "host: latchkey.test",
        "connection: close",
        `content-length: ${body.length}`,
        ...fields.map(([name, value]) => `${name}: ${value}`),
      ];
      const socket = connect({ port, host: "127.0.0.1", noDelay: true });
      // A refusal may close the connection before all of the call was read.
      socket.on("error", () => {});
      socket.write(
        Buffer.concat([
          Buffer.from(`${lines.join("\r\n")}\r\n\r\n`, "latin1"),
          body.subarray(0, body.length - withheld),
        ]),
      );
      const said = (await buffer(socket)).toString("latin1");
      const end = said.indexOf("\r\n\r\n");
      const head = said.slice(0, end).split("\r\n");
      return { head: head.filter(isNoDate), body: said.slice(end + 4), trailers: [] };
    },
    close: () => {},
  };
}

function linesOf(raw: readonly string[]): string[] {
  const lines: string[] = [];
  for (let at = 0; at < raw.length; at += 2) {
    lines.push(`${raw[at]}: ${raw[at + 1]}`);
  }
  return lines.filter(isNoDate);
}

function isNoDate(line: string): boolean {
  return !/^date:/i.test(line);
}
