import assert from "node:assert/strict";
import { after, test } from "node:test";
import type { Reason } from "../../src/errors.ts";
import { forgeToken, readParts, signingKeyOf } from "../support/forge-token.ts";
import { startService } from "../support/service.ts";
import { openDatabasePrint } from "./database-print.ts";
import { assertOutcomes } from "./outcomes.ts";
import { callHttp1, type RawAnswer, verdictOf } from "./raw-call.ts";

/** A token, and the one outcome that is right. */
export interface TokenCase {
  readonly name: string;
  readonly token: string;
  readonly outcome: Reason | "accepted";
}

export const AUTHENTICATE = "/latchkey.v1.AuthenticationService/Authenticate";
export const WHO_AM_I = "/latchkey.v1.AuthenticationService/WhoAmI";

/** A service, a token that it issued, and what it takes to make others. */
export async function tokenCases() {
  const service = await startService();
  after(() => service.stop());
  const token = await service.logIn();
  const { header, payload, signature } = readParts(token);
  const { kid, privateKey } = await signingKeyOf(service.core);
  /** Every text that was found to be no token of ours. */
  const invalid: string[] = [];

  async function answerTo(text: string, more: object = {}): Promise<RawAnswer> {
    const headers = [{ name: "Authorization", value: `Bearer ${text}` }];
    return await callHttp1(service.port, AUTHENTICATE, [], JSON.stringify({ headers, ...more }));
  }

  async function ask({ token: text }: { readonly token: string }): Promise<string> {
    return verdictOf(await answerTo(text));
  }

  return {
    service,
    token,
    header,
    payload,
    signature,
    kid,
    privateKey,
    answerTo,
    ask,

    /** Signed by the deployment's own key, with what differs from the genuine token. */
    forged: (differently: { readonly header?: object; readonly payload?: object } = {}): string =>
      forgeToken({ ...header, ...differently.header }, { ...payload, ...differently.payload }, privateKey),

    guarantee(what: string, cases: readonly TokenCase[]): void {
      invalid.push(...cases.filter(({ outcome }) => outcome === "TOKEN_INVALID").map((row) => row.token));
      test(`${what}: ${cases.length} cases`, () => assertOutcomes(cases, ask));
    },

    /** To be called after all the guarantees. */
    guaranteeThatNoneIsRevoked(): void {
      test("RevokeToken takes none of them for a token: it answers all alike and changes nothing", async () => {
        // Of those that were made by the hundred, some are enough.
        const texts = invalid
          .filter((text) => text !== "" && text.length <= 4_096)
          .filter((_, at, all) => all.length < 600 || at % 3 === 0);
        const print = await openDatabasePrint(service.connection);
        try {
          const before = await print.take();
          const path = "/latchkey.v1.TokenService/RevokeToken";
          await assertOutcomes(
            texts.map((text, at) => ({ name: `${at} ${text.slice(0, 60)}`, text, outcome: "200 {}" })),
            async ({ text }) => {
              const answer = await callHttp1(service.port, path, [], JSON.stringify({ token: text }));
              return `${answer.status} ${answer.body}`;
            },
          );
          assert.deepEqual(await print.take(), before);
        } finally {
          await print.end();
        }
        assert.equal(await ask({ token }), "accepted");
      });
    },
  };
}
