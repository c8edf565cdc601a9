import type { LeanAnswer } from "./lean-answer.ts";

/** The head of a request, as a door has it. */
export interface RequestHead {
  readonly isHttp2: boolean;
  /** Names and values by turns, as they came. */
  readonly rawHeaders: readonly string[];
  /** Of the socket's other end. Empty: unknown. */
  readonly peerAddress: string;
}

/** The calls that are served here. */
export interface LeanCalls {
  /** Whether a request may be one of them. */
  serves(method: string | undefined, path: string | undefined): boolean;
  /**
   * Begins it.
   *
   * @returns undefined where the long way has to serve it.
   */
  begin(path: string | undefined, head: RequestHead): LeanCall | undefined;
}

/** One of them, of which the head has come. */
export interface LeanCall {
  /** Of a body that can be answered here. */
  readonly mostBytes: number;
  /** For a body that has not come at once: tells what is answered where it does not come in time. */
  untilDeadline(late: (answer: LeanAnswer | Promise<LeanAnswer>) => void): void;
  /** The call is the long way's. */
  letGo(): void;
  /** The client is gone. */
  giveUp(): void;
  /**
   * Decides, and at once where that is possible.
   *
   * @param body all of it.
   * @returns undefined where it is for the long way: nothing has come of the call so far.
   */
  answer(body: Buffer): LeanAnswer | Promise<LeanAnswer> | undefined;
}
