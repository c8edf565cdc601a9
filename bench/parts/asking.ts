import type { Bench } from "../bench-context.ts";
import type { Server } from "../fixture/server.ts";
import { type Destination, Fleet, type Prepared, prepare, type Traffic } from "../load/fleet.ts";
import { checkAnswer, encode, type Protocol, type Question } from "../questions.ts";

const AUTHENTICATE = "/latchkey.v1.AuthenticationService/Authenticate";

/** How the requests in flight are spread. */
export interface Spread {
  readonly connections: number;
  /** On each. */
  readonly streams: number;
}

export const MULTIPLEXED: Spread = { connections: 4, streams: 25 };
export const ONE_EACH: Spread = { connections: 100, streams: 1 };

/** Where to ask, in the name of the service that asks. */
export function destinationAt(
  { population }: Bench,
  server: Server,
  protocol: Protocol,
  path = AUTHENTICATE,
): Destination {
  const port = server.ports[protocol === "grpc" ? "grpc" : "http"];
  if (port === undefined) {
    throw new Error(`the server does not speak ${protocol}`);
  }
  return { port, path, protocol, headers: [["x-internal-key", population.caller.text]] };
}

export function prepareQuestion(destination: Destination, question: Question): Prepared {
  const { protocol } = destination;
  return prepare(
    destination,
    encode(protocol, question.message),
    question.principalId !== undefined,
    (answer) => checkAnswer(protocol, question, answer),
  );
}

/** Each in turn, over and over. */
export function repeating(prepared: readonly Prepared[]): Traffic {
  let at = 0;
  return () => prepared[at++ % prepared.length];
}

/** Each once. */
export function once(prepared: Iterable<Prepared>): Traffic {
  const iterator = prepared[Symbol.iterator]();
  return () => {
    const { done, value } = iterator.next();
    return done === true ? undefined : value;
  };
}

export async function openFleet(destination: Destination, spread: Spread): Promise<Fleet> {
  return await new Fleet().open(destination, spread.connections, spread.streams);
}
