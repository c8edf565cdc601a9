import assert from "node:assert/strict";
import { Agent } from "node:http";
import { type Client, createClient } from "@connectrpc/connect";
import { createConnectTransport, createGrpcTransport, Http2SessionManager } from "@connectrpc/connect-node";
import { mintKey } from "../../src/credentials/secret-key.ts";
import { reasonOf } from "../support/refusal.ts";
import { AuthenticationService } from "../support/service.ts";
import { until } from "../support/until.ts";

export interface Asked {
  readonly url: string;
  readonly apiKey: string;
  readonly organizationId: string;
}

/** People who call `Authenticate` again and again. */
export interface OrdinaryCalls {
  /** Waits until each of them has been answered a few times more. Rejects when one was answered wrongly. */
  goOn(): Promise<void>;
  /** @returns what went wrong. */
  stop(): Promise<string[]>;
}

const A_FEW = 2;
/** A call that takes as long is one that has failed. */
const LONGEST_MILLIS = 20_000;

type Caller = Client<typeof AuthenticationService>;

export function startOrdinaryCalls(asked: Asked): OrdinaryCalls {
  const { url: baseUrl } = asked;
  const agent = new Agent({ keepAlive: true });
  const session = new Http2SessionManager(baseUrl);
  const connect = (agent: Agent | false) =>
    createConnectTransport({ baseUrl, httpVersion: "1.1", nodeOptions: { agent } });
  const grpc = (sessionManager: Http2SessionManager) => createGrpcTransport({ baseUrl, sessionManager });

  const failures: string[] = [];
  let isOver = false;
  const caller = (way: string, call: () => Promise<void>) => {
    const state = { answered: 0, done: Promise.resolve() };
    const goOn = async () => {
      while (!isOver && failures.length === 0) {
        await call();
        state.answered += 1;
      }
    };
    state.done = goOn().catch((error: unknown) => void failures.push(`${way}: ${error}`));
    return state;
  };
  const callers = [
    caller("Connect over HTTP/1.1", () => ask(createClient(AuthenticationService, connect(agent)), asked)),
    caller("Connect over HTTP/1.1 on a new connection", () =>
      ask(createClient(AuthenticationService, connect(false)), asked),
    ),
    caller("gRPC over HTTP/2", () => ask(createClient(AuthenticationService, grpc(session)), asked)),
    caller("gRPC over HTTP/2 on a new connection", async () => {
      const own = new Http2SessionManager(baseUrl);
      await ask(createClient(AuthenticationService, grpc(own)), asked).finally(() => own.abort());
    }),
  ];
  return {
    async goOn() {
      const before = callers.map(({ answered }) => answered);
      await until("ordinary calls were answered", () => {
        assert.deepEqual(failures, []);
        return callers.every(({ answered }, at) => answered >= (before[at] ?? 0) + A_FEW);
      });
    },
    async stop() {
      isOver = true;
      await Promise.all(callers.map(({ done }) => done));
      agent.destroy();
      session.abort();
      return failures;
    },
  };
}

/** About a key that holds, and about one of the right form that nobody has. */
async function ask(caller: Caller, { apiKey, organizationId }: Asked): Promise<void> {
  const about = (value: string) =>
    caller.authenticate({ headers: [{ name: "X-API-Key", value }] }, { timeoutMs: LONGEST_MILLIS });
  assert.equal((await about(apiKey)).organization?.id, organizationId);
  assert.equal(await reasonOf(about(mintKey("ak").text)), "API_KEY_INVALID");
}
