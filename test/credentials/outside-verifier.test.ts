import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { after, before, test } from "node:test";
import { decodeProtectedHeader } from "jose";
import { SigningKeyService } from "../../src/gen/latchkey/v1/signing_key_pb.ts";
import { reasonOf } from "../support/refusal.ts";
import { AuthenticationService, ISSUER, startService, type TestService } from "../support/service.ts";
import type { Question } from "./outside-verifier.ts";
import { passMinutes } from "./signing-key-times.ts";

// J7 of the project's list: whoever verifies with the published keys alone, and keeps them as long as jose does,
// sees no failure through rotations.

let service: TestService;
let replica: TestService;
before(async () => {
  service = await startService();
  replica = await startService({ beside: service });
});
after(async () => {
  await replica.stop();
  await service.stop();
});

/** A process that verifies with the keys that one replica publishes. */
function startVerifier(on: TestService) {
  const program = join(import.meta.dirname, "outside-verifier.ts");
  const child = spawn(process.execPath, [program, `${on.url}/.well-known/jwks.json`, ISSUER], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return {
    async asks(question: Question): Promise<string> {
      child.stdin.write(`${JSON.stringify(question)}\n`);
      return String((await lines.next()).value);
    },
    stop: () => child.kill(),
  };
}

test("no token fails through three rotations, whoever issued it and whoever's keys are fetched", async (t) => {
  const verifiers = [startVerifier(service), startVerifier(replica)];
  t.after(() => {
    for (const verifier of verifiers) {
      verifier.stop();
    }
  });
  const client = service.client(SigningKeyService, { "x-internal-key": service.internalKey });
  const tokens: string[] = [];
  let minutes = 0;
  const failures: string[] = [];

  /** Everybody verifies all tokens of the last 24 hours, each of whose keys is published. */
  const verify = async (more: readonly string[]) => {
    tokens.push(...more);
    for (const token of tokens) {
      for (const verifier of verifiers) {
        const outcome = await verifier.asks({ token, minutes });
        if (outcome !== "verified") {
          failures.push(`after ${minutes} minutes: ${outcome}`);
        }
      }
      const headers = [{ name: "Authorization", value: `Bearer ${token}` }];
      for (const on of [service, replica]) {
        assert.equal(await reasonOf(on.client(AuthenticationService).authenticate({ headers })), undefined);
      }
    }
  };
  const pass = async (more: number) => {
    await passMinutes(service.connection, more);
    minutes += more;
  };
  const logIn = () => Promise.all([service.logIn(), replica.logIn()]);

  await verify(await logIn());
  for (let rotation = 0; rotation < 3; rotation++) {
    // Right before, so that what is kept is as old as can be.
    await verify([]);
    await client.rotateSigningKey({});
    for (const step of [1, 14, 4, 2, 30]) {
      // People log in while it happens.
      const [issued] = await Promise.all([logIn(), pass(step)]);
      await verify([...issued, ...(await logIn())]);
    }
  }
  assert.deepEqual(failures, []);
  assert.equal(new Set(tokens.map((token) => decodeProtectedHeader(token).kid)).size, 4);

  // What would be found: a token of a key that nobody has published.
  const [head = "", body = "", signature = ""] = (tokens[0] ?? "").split(".");
  const unknown = Buffer.from(JSON.stringify({ ...decodeProtectedHeader(tokens[0] ?? ""), kid: "x" }));
  for (const verifier of verifiers) {
    const [forged, changed] = [
      [unknown.toString("base64url"), body, signature].join("."),
      [head, body, signature.replace(/^./, (first) => (first === "A" ? "B" : "A"))].join("."),
    ];
    assert.equal(await verifier.asks({ token: forged, minutes }), "ERR_JWKS_NO_MATCHING_KEY");
    assert.equal(await verifier.asks({ token: changed, minutes }), "ERR_JWS_SIGNATURE_VERIFICATION_FAILED");
  }
});
