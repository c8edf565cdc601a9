import assert from "node:assert/strict";
import {
  constants,
  createHmac,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  sign,
} from "node:crypto";
import { after, before, test } from "node:test";
import type { JWK } from "jose";
import type { SigningAlgorithm } from "../../src/credentials/signing-key/new-signing-key.ts";
import { addSigningKey } from "../access/cast.ts";
import { encode, readParts, type TokenPart } from "../support/forge-token.ts";
import { reasonOf } from "../support/refusal.ts";
import { AuthenticationService, startService, type TestService } from "../support/service.ts";

// RFC 8725bis, "Perform Algorithm Verification": a key is used with the one algorithm that it was made for, and
// what the token says of it counts for nothing.

const ALGORITHMS = ["ES256", "EdDSA", "RS256"] as const;

interface Key {
  readonly kid: string;
  readonly algorithm: SigningAlgorithm;
  readonly privateKey: KeyObject;
  readonly publicJwk: JWK;
}

let knowing: TestService;
let service: TestService;
let keys: readonly Key[];
let payload: Record<string, unknown>;

before(async () => {
  service = await startService();
  payload = readParts(await service.logIn()).payload;
  keys = await Promise.all(
    ALGORITHMS.map(async (algorithm) => ({ algorithm, ...(await addSigningKey(service.core, algorithm)) })),
  );
  // It knows the keys from its start; the other finds them when it is asked.
  knowing = await startService({ beside: service });
});
after(async () => {
  await knowing.stop();
  await service.stop();
});

/** Every way to sign that there is, whatever the key was made for. Undefined: the key cannot be used so. */
const SIGN: Readonly<Record<string, (text: Buffer, key: KeyObject) => Buffer | undefined>> = {
  ES256: (text, key) =>
    key.asymmetricKeyType === "ec" ? sign("sha256", text, { key, dsaEncoding: "ieee-p1363" }) : undefined,
  EdDSA: (text, key) => (key.asymmetricKeyType === "ed25519" ? sign(null, text, key) : undefined),
  RS256: (text, key) => (key.asymmetricKeyType === "rsa" ? sign("sha256", text, key) : undefined),
  RS512: (text, key) => (key.asymmetricKeyType === "rsa" ? sign("sha512", text, key) : undefined),
  PS256: (text, key) =>
    key.asymmetricKeyType === "rsa"
      ? sign("sha256", text, { key, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 })
      : undefined,
  "ES256 in DER": (text, key) => (key.asymmetricKeyType === "ec" ? sign("sha256", text, key) : undefined),
  ES512: (text, key) =>
    key.asymmetricKeyType === "ec" ? sign("sha512", text, { key, dsaEncoding: "ieee-p1363" }) : undefined,
};

function tokenOf(header: TokenPart, signature: (text: Buffer) => Buffer): string {
  const text = `${encode(header)}.${encode(payload)}`;
  return `${text}.${encode(signature(Buffer.from(text)))}`;
}

async function verdicts(token: string): Promise<(string | undefined)[]> {
  const headers = [{ name: "Authorization", value: `Bearer ${token}` }];
  return await Promise.all(
    [service, knowing].map((on) => reasonOf(on.client(AuthenticationService).authenticate({ headers }))),
  );
}

const header = (alg: string, kid: string) => ({ alg, typ: "at+jwt", kid });

test("a token of each algorithm is accepted, signed by a key of it", async () => {
  for (const { kid, algorithm, privateKey } of keys) {
    const token = tokenOf(
      header(algorithm, kid),
      (text) => SIGN[algorithm]?.(text, privateKey) ?? assert.fail(),
    );
    assert.deepEqual(await verdicts(token), [undefined, undefined], algorithm);
  }
});

test("whatever algorithm a token names, and however it was signed, only the key's own is accepted", async () => {
  const named = [
    ...ALGORITHMS,
    "RS512",
    "PS256",
    "ES512",
    "ES384",
    "HS256",
    "none",
    "None",
    "",
    "es256",
    "Ed25519",
  ];
  let tried = 0;
  for (const { kid, algorithm, privateKey } of keys) {
    for (const alg of named) {
      for (const [way, make] of Object.entries(SIGN)) {
        // The signature of the key named, and of another deployment's key that can sign so.
        for (const key of [
          privateKey,
          ...keys.filter((other) => other.kid !== kid).map((other) => other.privateKey),
        ]) {
          const isGenuine = alg === algorithm && way === algorithm && key === privateKey;
          const signature = make(Buffer.from(`${encode(header(alg, kid))}.${encode(payload)}`), key);
          if (signature !== undefined && !isGenuine) {
            const token = tokenOf(header(alg, kid), () => signature);
            assert.deepEqual(
              await verdicts(token),
              ["TOKEN_INVALID", "TOKEN_INVALID"],
              `${algorithm} ${alg} ${way}`,
            );
            tried++;
          }
        }
      }
    }
  }
  assert.ok(tried > 200, String(tried));
});

test("a public key is no secret: as that of an HMAC it signs nothing, in whichever form", async () => {
  for (const { kid, publicJwk } of keys) {
    const publicKey = createPublicKey({ key: publicJwk as never, format: "jwk" });
    const forms: readonly (string | Buffer)[] = [
      publicKey.export({ format: "pem", type: "spki" }),
      publicKey.export({ format: "der", type: "spki" }),
      JSON.stringify(publicJwk),
      String(publicJwk.x ?? publicJwk.n),
      Buffer.from(String(publicJwk.x ?? publicJwk.n), "base64url"),
      kid,
      "",
    ];
    for (const secret of forms) {
      for (const [alg, hash] of [
        ["HS256", "sha256"],
        ["HS512", "sha512"],
      ] as const) {
        const token = tokenOf(header(alg, kid), (text) => createHmac(hash, secret).update(text).digest());
        assert.deepEqual(await verdicts(token), ["TOKEN_INVALID", "TOKEN_INVALID"]);
      }
    }
  }
});

test("a key that a token brings along, or points at, is not looked at", async () => {
  const { privateKey, publicKey } = generateKeyPairSync("ed25519");
  const jwk = publicKey.export({ format: "jwk" });
  for (const { kid } of keys) {
    for (const more of [
      { jwk },
      { jku: "https://keys.test/jwks.json" },
      { x5u: "https://keys.test" },
      { x5c: [] },
      {},
    ]) {
      const token = tokenOf({ ...header("EdDSA", kid), ...more }, (text) => sign(null, text, privateKey));
      assert.deepEqual(await verdicts(token), ["TOKEN_INVALID", "TOKEN_INVALID"]);
    }
  }
});
