import assert from "node:assert/strict";
import { createHmac, generateKeyPairSync, randomUUID, sign } from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { describe, test } from "node:test";
import { calculateJwkThumbprint, type JWK } from "jose";
import { decode, encode, forgeToken } from "../support/forge-token.ts";
import { AuthenticationService, ISSUER } from "../support/service.ts";
import { assertOutcomes } from "./outcomes.ts";
import { type TokenCase, tokenCases } from "./token-cases.ts";

const cases = await tokenCases();
const { service, token, header, payload, signature, kid, privateKey, forged, ask, guarantee } = cases;

const { d: _, ...publicKey } = privateKey.export({ format: "jwk" });
const foreign = generateKeyPairSync("ec", { namedCurve: "P-256" });
const foreignJwk = foreign.publicKey.export({ format: "jwk" }) as JWK;
const foreignKid = await calculateJwkThumbprint(foreignJwk);

function without(part: Readonly<Record<string, unknown>>, name: string): Record<string, unknown> {
  return Object.fromEntries(Object.entries(part).filter(([other]) => other !== name));
}

describe("what is signed by the deployment's own key", () => {
  guarantee("is good where it is what the service would have written, or informs only", [
    { name: "the token itself", token, outcome: "accepted" },
    { name: "signed again", token: forged(), outcome: "accepted" },
    ...["org", "role", "client_id"].map((name) => ({
      name: `without ${name}`,
      token: forgeToken(header, without(payload, name), privateKey),
      outcome: "accepted" as const,
    })),
    {
      name: "another org and role",
      token: forged({ payload: { org: randomUUID(), role: "viewer" } }),
      outcome: "accepted",
    },
  ]);

  test("does not say what its holder may do: live state does", async () => {
    const claims = {
      org: randomUUID(),
      role: "owner",
      permissions: ["*"],
      scope: "platform.users.write",
      email: "x@y.z",
    };
    const client = service.client(AuthenticationService);
    const ofToken = (text: string) =>
      client.authenticate({ headers: [{ name: "Authorization", value: `Bearer ${text}` }] });
    assert.deepEqual(await ofToken(forged({ payload: claims })), await ofToken(token));
  });

  guarantee(
    "is not one of ours without one of the claims that count",
    ["iss", "aud", "exp", "iat", "jti", "sub", "sid"].map((name) => ({
      name,
      token: forgeToken(header, without(payload, name), privateKey),
      outcome: "TOKEN_INVALID",
    })),
  );

  const wrong: unknown[] = [null, true, 5, {}, [], "", "x", [null], { toString: "x" }];
  guarantee(
    "is not one of ours with a claim of another type, or that is not what it should be",
    [
      [
        "iss",
        [
          ...wrong,
          [ISSUER],
          `${ISSUER}/`,
          ISSUER.toUpperCase(),
          ISSUER.replace("https", "http"),
          `${ISSUER} `,
        ],
      ],
      ["exp", wrong.filter((value) => value !== 5).concat(["9999999999", "2999-01-01"])],
      ["iat", wrong.filter((value) => value !== 5).concat(["1"])],
      ["nbf", wrong.filter((value) => value !== 5).concat(["1"])],
      [
        "sub",
        [
          ...wrong,
          randomUUID(),
          String(payload["sub"]).toUpperCase(),
          [payload["sub"]],
          `${payload["sub"]} `,
        ],
      ],
      [
        "sid",
        [
          ...wrong,
          randomUUID(),
          String(payload["sid"]).toUpperCase(),
          [payload["sid"]],
          `${payload["sid"]}\0`,
        ],
      ],
      ["sid", ["' or true --", `${payload["sid"]}' --`, "__proto__", "00000000-0000-0000-0000-000000000000"]],
    ].flatMap(([name, values], at) =>
      (values as unknown[]).map((value) => ({
        name: `${at} ${name}: ${JSON.stringify(value)}`,
        token: forged({ payload: { [name as string]: value } }),
        outcome: "TOKEN_INVALID" as const,
      })),
    ),
  );

  test("is not one of ours with a jti that is no text (RFC 7519 section 4.1.7)", async () => {
    await assertOutcomes(
      wrong
        .filter((value) => value !== "x")
        .map((jti) => ({
          name: JSON.stringify(jti),
          token: forged({ payload: { jti } }),
          outcome: "TOKEN_INVALID",
        })),
      ask,
    );
  });

  guarantee(
    "is for another audience where aud is anything else",
    [
      null,
      true,
      5,
      {},
      [],
      "",
      "x",
      [null],
      ["x"],
      [[ISSUER]],
      `${ISSUER}/`,
      ISSUER.toUpperCase(),
      { aud: ISSUER },
    ].map((aud) => ({
      name: JSON.stringify(aud),
      token: forged({ payload: { aud } }),
      outcome: "TOKEN_AUDIENCE_MISMATCH",
    })),
  );

  guarantee(
    "is not one of ours with another typ",
    [
      "JWT",
      "jwt",
      "at+JWT",
      "AT+JWT",
      "application/at+jwt",
      "at+jwt ",
      "rt+jwt",
      "dpop+jwt",
      "secevent+jwt",
      ...["logout+jwt", "", "at", null, 5, true, ["at+jwt"], {}],
    ].map((typ) => ({
      name: JSON.stringify(typ),
      token: forged({ header: { typ } }),
      outcome: "TOKEN_INVALID" as const,
    })),
  );

  guarantee("is not one of ours without one of its header's parameters", [
    ...["alg", "kid", "typ"].map((name) => ({
      name,
      token: forgeToken(without(header, name), payload, privateKey),
      outcome: "TOKEN_INVALID" as const,
    })),
    { name: "all of them", token: forgeToken({}, payload, privateKey), outcome: "TOKEN_INVALID" },
  ]);

  guarantee(
    "is not one of ours where its header says another alg than the key's",
    [
      "ES384",
      "ES512",
      "ES256K",
      "RS256",
      "RS512",
      "PS256",
      "EdDSA",
      "Ed25519",
      "ML-DSA-44",
      "HS256",
      "none",
      ...["es256", "Es256", "ES256 ", " ES256", "ES256\0", "", null, 5, true, ["ES256"], { alg: "ES256" }],
    ].map((alg) => ({
      name: JSON.stringify(alg),
      token: forged({ header: { alg } }),
      outcome: "TOKEN_INVALID" as const,
    })),
  );

  guarantee(
    "is not one of ours where its kid is not the key's",
    [
      ...[foreignKid, "A".repeat(43), kid.toLowerCase(), kid.slice(1), `${kid}A`, `${kid}\0`, ` ${kid}`, ""],
      "../../../../dev/null",
      "' or '1'='1",
      `${kid}' --`,
      "__proto__",
      "constructor",
      null,
      5,
      true,
      [kid],
      {},
    ].map((other) => ({
      name: JSON.stringify(other),
      token: forged({ header: { kid: other } }),
      outcome: "TOKEN_INVALID" as const,
    })),
  );
});

describe("what is signed by anybody else", () => {
  const spellings = Array.from({ length: 16 }, (_, bits) =>
    [..."none"].map((letter, at) => (bits & (1 << at) ? letter.toUpperCase() : letter)).join(""),
  );
  guarantee(
    "with the algorithm none is not one of ours, however it is spelt and whatever stands for a signature",
    [...spellings, "none ", "noNE\0", "None\n", ""].flatMap((alg) =>
      ["", signature, "AA", encode("none")].map((last, at) => ({
        name: `${JSON.stringify(alg)} ${at}`,
        token: `${encode({ ...header, alg })}.${encode(payload)}.${last}`,
        outcome: "TOKEN_INVALID" as const,
      })),
    ),
  );

  const { x = "", y = "" } = publicKey as { x?: string; y?: string };
  const pem = publicPem();
  const secrets: readonly (readonly [string, string | Buffer])[] = [
    ["the PEM", pem],
    ["the PEM without its last line break", pem.trim()],
    ["the PEM with CRLF", pem.replaceAll("\n", "\r\n")],
    ["the base64 of the PEM", pem.replace(/-----[^-]+-----|\n/g, "")],
    ["the DER", decode(pem.replace(/-----[^-]+-----|\n/g, ""))],
    ["the JWK", JSON.stringify(publicKey)],
    ["the published JWK", JSON.stringify({ ...publicKey, kid, alg: "ES256", use: "sig" })],
    ["the published JWK set", JSON.stringify({ keys: [{ ...publicKey, kid, alg: "ES256", use: "sig" }] })],
    ["the point", Buffer.concat([Buffer.of(4), decode(x), decode(y)])],
    ["x", x],
    ["the kid", kid],
    ["nothing", ""],
    ["the issuer", ISSUER],
  ];
  guarantee(
    "by HMAC with what is public of the key as its secret is not one of ours (algorithm confusion)",
    secrets.flatMap(([what, secret]) =>
      (["256", "384", "512"] as const).flatMap((bits) =>
        [`HS${bits}`, "ES256"].map((alg) => {
          const signed = `${encode({ ...header, alg })}.${encode(payload)}`;
          const mac = createHmac(`sha${bits}`, secret).update(signed).digest();
          return {
            name: `${alg} by HS${bits} under ${what}`,
            token: `${signed}.${encode(mac)}`,
            outcome: "TOKEN_INVALID" as const,
          };
        }),
      ),
    ),
  );

  const rsa = generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey;
  const ed = generateKeyPairSync("ed25519").privateKey;
  const p384 = generateKeyPairSync("ec", { namedCurve: "P-384" }).privateKey;
  const by = (alg: string, make: (signed: Buffer) => Buffer, more: object = {}): string => {
    const signed = `${encode({ ...header, alg, ...more })}.${encode(payload)}`;
    return `${signed}.${encode(make(Buffer.from(signed)))}`;
  };
  const p1363 = { dsaEncoding: "ieee-p1363" } as const;
  guarantee(
    "with a key of their own is not one of ours, by whatever algorithm and with whatever kid",
    [kid, foreignKid].flatMap((named) => {
      const es256 = (signed: Buffer) => sign("sha256", signed, { key: foreign.privateKey, ...p1363 });
      return [
        { name: "ES256", token: by("ES256", es256, { kid: named }) },
        {
          name: "ES384",
          token: by("ES384", (s) => sign("sha384", s, { key: p384, ...p1363 }), { kid: named }),
        },
        {
          name: "ES384 as ES256",
          token: by("ES256", (s) => sign("sha384", s, { key: p384, ...p1363 }), { kid: named }),
        },
        { name: "RS256", token: by("RS256", (s) => sign("sha256", s, rsa), { kid: named }) },
        { name: "RS256 as ES256", token: by("ES256", (s) => sign("sha256", s, rsa), { kid: named }) },
        { name: "EdDSA", token: by("EdDSA", (s) => sign(null, s, ed), { kid: named }) },
        { name: "EdDSA as ES256", token: by("ES256", (s) => sign(null, s, ed), { kid: named }) },
        { name: "jwk", token: by("ES256", es256, { kid: named, jwk: foreignJwk }) },
      ].map((row): TokenCase => ({ ...row, name: `${row.name}, kid ${named}`, outcome: "TOKEN_INVALID" }));
    }),
  );

  const order = Buffer.from("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551", "hex");
  const zero = Buffer.alloc(32);
  const one = Buffer.concat([Buffer.alloc(31), Buffer.of(1)]);
  guarantee(
    "with a signature out of range is not one of ours (CVE-2022-21449)",
    Object.entries({ zero, one, order }).flatMap(([r, first]) =>
      Object.entries({ zero, one, order }).map(([s, last]) => ({
        name: `r ${r}, s ${s}`,
        token: by("ES256", () => Buffer.concat([first, last])),
        outcome: "TOKEN_INVALID" as const,
      })),
    ),
  );

  test("with a key that the token itself points to is not one of ours, and nothing is fetched", async () => {
    let fetched = 0;
    const host = createServer((_request, response) => {
      fetched += 1;
      response.end(JSON.stringify({ keys: [{ ...foreignJwk, kid: foreignKid }] }));
    });
    host.listen(0, "127.0.0.1");
    await once(host, "listening");
    const url = `http://127.0.0.1:${(host.address() as AddressInfo).port}/keys`;
    const pointers = [{ jku: url }, { x5u: url }, { jku: url, jwk: foreignJwk }, { kid: url, jku: url }];
    try {
      await assertOutcomes(
        pointers.flatMap((pointer) =>
          [kid, foreignKid].map((named) => ({
            name: `${Object.keys(pointer)} with kid ${named}`,
            token: forgeToken({ ...header, kid: named, ...pointer }, payload, foreign.privateKey),
            outcome: "TOKEN_INVALID",
          })),
        ),
        ask,
      );
      assert.equal(fetched, 0);
    } finally {
      host.close();
    }
  });

  function publicPem(): string {
    const der = Buffer.from(`3059301306072a8648ce3d020106082a8648ce3d03010703420004`, "hex");
    const spki = Buffer.concat([der, decode(x), decode(y)]);
    const lines = spki.toString("base64").match(/.{1,64}/g) ?? [];
    return ["-----BEGIN PUBLIC KEY-----", ...lines, "-----END PUBLIC KEY-----", ""].join("\n");
  }
});

describe("a header parameter that no token of ours has", () => {
  const certificate = encode("certificate");
  guarantee(
    "is refused, though the signature is right",
    Object.entries({
      jku: "https://keys.test/",
      jwk: publicKey,
      x5u: "https://keys.test/",
      x5c: [certificate],
      x5t: certificate,
      "x5t#S256": certificate,
      crit: ["exp"],
      b64: true,
      cty: "JWT",
      zip: "DEF",
      enc: "A256GCM",
      epk: publicKey,
      p2c: 2_147_483_647,
      p2s: certificate,
      apu: "",
      iv: "",
      tag: "",
      url: "https://latchkey.test/",
      nonce: "",
      ppt: "",
      iss: ISSUER,
      exp: 1,
      Alg: "ES256",
      "": "",
      constructor: "",
      toString: "",
    }).flatMap(([name, value]) => [
      { name, token: forged({ header: { [name]: value } }), outcome: "TOKEN_INVALID" as const },
      {
        name: `${name}: null`,
        token: forged({ header: { [name]: null } }),
        outcome: "TOKEN_INVALID" as const,
      },
    ]),
  );

  guarantee("is refused where only the JSON shows it", [
    {
      name: "__proto__",
      token: forgeToken(JSON.stringify(header).replace("{", '{"__proto__":{},'), payload, privateKey),
      outcome: "TOKEN_INVALID",
    },
  ]);
});

cases.guaranteeThatNoneIsRevoked();

test("no line of the log repeats a token", () => {
  assert.deepEqual(
    service.logged.filter((line) => line.includes(signature) || line.includes(encode(payload).slice(0, 60))),
    [],
  );
});
