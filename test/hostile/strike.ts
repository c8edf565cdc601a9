import { setTimeout as delay } from "node:timers/promises";
import { dial, type Line } from "./line.ts";

/** What is done to a port until whoever does it is stopped. */
export interface Attack {
  /** How many blows make it count. */
  readonly enough: number;
  /** @param struck is told of blows. */
  readonly strike: (port: number, enough: number, struck: (blows: number) => void) => Promise<never>;
}

/** Who is turned away comes back a moment later. */
const PAUSE_MILLIS = 20;
/** Who is slow sends a little this often. */
const LITTLE_MILLIS = 200;

async function comeBack(port: number): Promise<Line> {
  for (;;) {
    const line = await dial(port);
    if (line !== undefined) {
      return line;
    }
    await delay(PAUSE_MILLIS);
  }
}

/** Blows in one write, and how many of them make a flood. */
const BATCH = 32;
const ENOUGH_BLOWS = 10_000;

/** What is done on a connection as fast as it is taken. */
export interface Stream {
  /** What it begins with. */
  readonly opening: Buffer;
  /** What then comes, a blow each. */
  readonly blows: () => Generator<Buffer, never>;
}

export interface FloodOptions {
  readonly enough?: number;
  /** Whether what is answered is read. */
  readonly reads?: boolean;
}

/** Each on a connection of its own, at once. Who is cut off comes back. */
export function flood(
  streams: readonly Stream[],
  { enough = ENOUGH_BLOWS, reads = true }: FloodOptions = {},
): Attack {
  const pour = async (port: number, { opening, blows }: Stream, struck: (blows: number) => void) => {
    for (;;) {
      const line = await comeBack(port);
      line.reads = reads;
      await line.send(opening);
      const source = blows();
      while (!line.isClosed) {
        await line.send(Buffer.concat(Array.from({ length: BATCH }, () => source.next().value)));
        struck(BATCH);
        // Or it would not learn that it was cut off.
        await delay(0);
      }
    }
  };
  return {
    enough,
    strike: (port, _enough, struck) => Promise.race(streams.map((stream) => pour(port, stream, struck))),
  };
}

/** What is done on a connection that is held. */
export interface Held {
  /** What it begins with. */
  readonly opening: Buffer | string;
  /** What there is more of, all the time. */
  readonly little?: Buffer | string;
}

export interface HoldOptions {
  /** How many connections. */
  readonly lines: number;
  /** How many of them are opened at once. */
  readonly atOnce?: number;
  /** Whether what is answered is read. */
  readonly reads?: boolean;
}

/** Opens connections, a blow each, of each kind as many, and holds them. Who is cut off comes back. */
export function hold(kinds: readonly Held[], { lines, atOnce = 50, reads = true }: HoldOptions): Attack {
  const open = async (port: number, kind: Held | undefined) => {
    const line = await comeBack(port);
    line.reads = reads;
    await line.send(kind?.opening ?? "");
    return { line, little: kind?.little ?? "" };
  };
  return {
    enough: lines,
    async strike(port, enough, struck) {
      let held: Awaited<ReturnType<typeof open>>[] = [];
      for (;;) {
        held = held.filter(({ line }) => !line.isClosed);
        const missing = Math.min(enough - held.length, atOnce);
        if (missing > 0) {
          const more = Array.from({ length: missing }, (_, at) => open(port, kinds[at % kinds.length]));
          held.push(...(await Promise.all(more)));
          struck(missing);
          await delay(PAUSE_MILLIS);
        } else {
          await Promise.all(held.map(({ line, little }) => line.send(little)));
          await delay(LITTLE_MILLIS);
        }
      }
    },
  };
}
