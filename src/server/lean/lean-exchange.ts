import { Readable } from "node:stream";
import type { LeanAnswer } from "./lean-answer.ts";
import type { LeanCall } from "./lean-call.ts";

/** Those that began in this turn of the event loop. */
let begun: LeanExchange[] = [];

/** A request and its answer: what is the same for both versions of HTTP. */
export abstract class LeanExchange {
  readonly #source: Readable;
  #call: LeanCall | undefined;
  #pieces: Buffer[] = [];
  #length = 0;
  #state: "reading" | "deciding" | "over" = "reading";

  /** @param source of which nothing was read. */
  constructor(source: Readable, call: LeanCall) {
    this.#source = source;
    this.#call = call;
    if (source.readableEnded) {
      // An empty body may have ended before anybody listened.
      process.nextTick(this.#end);
      return;
    }
    source.on("data", this.#read);
    source.on("end", this.#end);
    // Most bodies come with their heads, and need no clock.
    if (begun.length === 0) setImmediate(watchDeadlines);
    begun.push(this);
  }

  /** Writes an answer, if there is still somebody to read it. */
  protected abstract write(answer: LeanAnswer): void;
  /** Has the request served the long way. */
  protected abstract serveLong(body: Readable): void;
  /** Ends what cannot be answered: a fault of ours. */
  protected abstract fail(error: unknown): void;

  /** The client is gone, or has all that it gets. */
  closed(): void {
    if (this.#state !== "over") {
      this.#state = "over";
      this.#call?.giveUp();
    }
    // Node holds on to a closed stream for a while, and to what can be reached from it.
    this.#call = undefined;
    this.#pieces = [];
  }

  watchDeadline(): void {
    if (this.#state === "reading") {
      this.#call?.untilDeadline((answer) => {
        this.#letGo();
        // The rest flows away: to end the request would take the answer along (wire-body.ts).
        this.#source.resume();
        this.#settle(answer);
      });
    }
  }

  readonly #read = (piece: Buffer): void => {
    this.#pieces.push(piece);
    this.#length += piece.length;
    if (this.#call !== undefined && this.#length > this.#call.mostBytes) {
      this.#letGo();
      this.#source.pause();
      this.#giveAway(startingWith(this.#pieces, this.#source));
    }
  };

  readonly #end = (): void => {
    const call = this.#call;
    if (call === undefined) return;
    this.#state = "deciding";
    const [only] = this.#pieces;
    const isOne = this.#pieces.length === 1 && only !== undefined;
    const body = isOne ? only : Buffer.concat(this.#pieces, this.#length);
    try {
      const answer = call.answer(body);
      if (answer === undefined) this.#giveAway([body]);
      else this.#settle(answer);
    } catch (error) {
      this.#failed(error);
    }
  };

  #letGo(): void {
    this.#source.off("data", this.#read).off("end", this.#end);
  }

  #giveAway(pieces: Iterable<Buffer> | AsyncIterable<Buffer>): void {
    this.#state = "over";
    this.#call?.letGo();
    this.serveLong(Readable.from(pieces));
  }

  #settle(answer: LeanAnswer | Promise<LeanAnswer>): void {
    if (!(answer instanceof Promise)) {
      this.#state = "over";
      this.write(answer);
      return;
    }
    this.#state = "deciding";
    answer.then((decided) => this.#settle(decided)).catch((error: unknown) => this.#failed(error));
  }

  #failed(error: unknown): void {
    this.#state = "over";
    this.fail(error);
  }
}

function watchDeadlines(): void {
  const exchanges = begun;
  begun = [];
  for (const exchange of exchanges) exchange.watchDeadline();
}

async function* startingWith(pieces: readonly Buffer[], rest: Readable): AsyncGenerator<Buffer> {
  yield* pieces;
  yield* rest.iterator({ destroyOnReturn: false });
}
