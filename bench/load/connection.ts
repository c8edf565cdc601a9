/** What came of a request. */
export interface Answer {
  /** Of gRPC the status (`0`), of HTTP its own (`200`). */
  readonly status: string;
  /** The message; good until the callback returns. Empty where there is none. */
  readonly message: Buffer;
}

/** A connection that costs as little as it can, so that what is measured is the server. */
export interface Connection {
  /** How many requests may be in flight. */
  readonly streams: number;
  /**
   * Sends a request when the caller's turn ends, so that what is sent at once is written at once.
   *
   * @param answered is called once, with what it was given.
   */
  send(request: Buffer, answered: (answer: Answer) => void): void;
  /** Resolves once it is closed. Nothing may be in flight. */
  close(): Promise<void>;
}

/** Told of a connection that broke: the measurement is then none. */
export type OnBroken = (error: Error) => void;
