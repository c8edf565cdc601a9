import assert from "node:assert/strict";
import { generateKeyPairSync, randomUUID, sign } from "node:crypto";
import { describe, test } from "node:test";
import { CompactEncrypt, FlattenedSign, GeneralSign } from "jose";
import { decode, encode, forgeToken, signEncoded } from "../support/forge-token.ts";
import { assertOutcomes } from "./outcomes.ts";
import { type TokenCase, tokenCases } from "./token-cases.ts";

const cases = await tokenCases();
const { token, header, payload, signature, kid, privateKey, forged, ask, guarantee } = cases;

const stranger = generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey;

function without(part: Readonly<Record<string, unknown>>, name: string): Record<string, unknown> {
  return Object.fromEntries(Object.entries(part).filter(([other]) => other !== name));
}

const encrypted = await new CompactEncrypt(Buffer.from(JSON.stringify(payload)))
  .setProtectedHeader({ alg: "dir", enc: "A256GCM", typ: "at+jwt", kid })
  .encrypt(Buffer.alloc(32));
const nested = await new CompactEncrypt(Buffer.from(token))
  .setProtectedHeader({ alg: "dir", enc: "A128CBC-HS256", cty: "JWT", typ: "at+jwt", kid })
  .encrypt(Buffer.alloc(32));
const bytes = Buffer.from(JSON.stringify(payload));
const flattened = JSON.stringify(
  await new FlattenedSign(bytes).setProtectedHeader({ alg: "ES256", typ: "at+jwt", kid }).sign(privateKey),
);
const general = JSON.stringify(
  await new GeneralSign(bytes)
    .addSignature(privateKey)
    .setProtectedHeader({ alg: "ES256", typ: "at+jwt", kid })
    .sign(),
);
describe("the form of a token", () => {
  const [head = "", body = "", last = ""] = token.split(".");
  guarantee("has three parts and no other number, none of them empty", [
    ...[
      ["nothing but dots", ".."],
      ["one part", head],
      ["two parts", `${head}.${body}`],
      ["two parts and a dot", `${head}.${body}.`],
      ["no header", `.${body}.${last}`],
      ["no payload", `${head}..${last}`],
      ["a dot before", `.${token}`],
      ["a dot after", `${token}.`],
      ["four parts", `${token}.${last}`],
      ["five parts", `${head}.${body}.${last}.${body}.${last}`],
      ["six parts", `${token}.${token}`],
      ["twice", token + token],
      ["without its first letter", token.slice(1)],
      ["with a letter before", `A${token}`],
      ["with a letter after", `${token}A`],
      ["the payload first", `${body}.${head}.${last}`],
    ].map(([name = "", text = ""]) => ({ name, token: text, outcome: "TOKEN_INVALID" as const })),
    ...[
      ["a space within", token.replace(".", ". ")],
      ["a tab within", token.replace(".", ".\t")],
      ["a line break within", token.replace(".", ".\n")],
      ["a NUL after", `${token}\0`],
    ].map(([name = "", text = ""]) => ({ name, token: text, outcome: "CREDENTIAL_MALFORMED" as const })),
  ]);

  const bomb = encode({
    alg: "PBES2-HS256+A128KW",
    enc: "A256GCM",
    p2c: 2_147_483_647,
    p2s: "AA",
    typ: "at+jwt",
    kid,
  });
  guarantee("is never that of an encrypted token (JWE)", [
    { name: "five parts", token: encrypted, outcome: "TOKEN_INVALID" },
    { name: "five parts with a token in it", token: nested, outcome: "TOKEN_INVALID" },
    {
      name: "its first three parts",
      token: encrypted.split(".").slice(0, 3).join("."),
      outcome: "TOKEN_INVALID",
    },
    { name: "a key that takes minutes to derive", token: `${bomb}.AA.AA.AA.AA`, outcome: "TOKEN_INVALID" },
    { name: "the same as a signed token", token: `${bomb}.${body}.${last}`, outcome: "TOKEN_INVALID" },
  ]);

  guarantee("is never that of JSON (RFC 7515 section 7.2)", [
    // A comma is what an edge joins two credentials with.
    { name: "flattened", token: flattened, outcome: "CREDENTIALS_AMBIGUOUS" },
    { name: "general", token: general, outcome: "CREDENTIALS_AMBIGUOUS" },
    { name: "flattened, in base64", token: encode(flattened), outcome: "TOKEN_INVALID" },
    { name: "general, in base64", token: encode(general), outcome: "TOKEN_INVALID" },
    { name: "one member", token: JSON.stringify({ payload: body }), outcome: "CREDENTIAL_MALFORMED" },
    { name: "the claims alone", token: encode(payload), outcome: "TOKEN_INVALID" },
  ]);

  guarantee(
    "has a JSON object in both parts",
    [
      "",
      "null",
      "true",
      "5",
      '"x"',
      "[]",
      "[{}]",
      "{",
      "}",
      "{}{}",
      "undefined",
      "{'alg':'ES256'}",
      "\0",
      JSON.stringify([payload]),
      JSON.stringify(JSON.stringify(payload)),
      `\ufeff${JSON.stringify(payload)}`,
      ...["[".repeat(1_400), '{"a":'.repeat(280), "[".repeat(700) + "]".repeat(700), "// x\n{}", "{} x"],
    ].flatMap((text, at) => [
      {
        name: `payload ${at}`,
        token: forgeToken(header, text, privateKey),
        outcome: "TOKEN_INVALID" as const,
      },
      {
        name: `header ${at}`,
        token: forgeToken(text, payload, privateKey),
        outcome: "TOKEN_INVALID" as const,
      },
    ]),
  );

  test("may nest as deep as its length allows", async () => {
    const deep = JSON.stringify(payload).replace("{", `{"deep":${"[".repeat(1_000)}${"]".repeat(1_000)},`);
    const rows = [
      { name: "signed", token: forgeToken(header, deep, privateKey), outcome: "accepted" },
      { name: "forged", token: forgeToken(header, deep, stranger), outcome: "TOKEN_INVALID" },
    ];
    await assertOutcomes(rows, ask);
  });

  const other = String(randomUUID());
  const json = JSON.stringify(payload);
  const twice = (name: string, first: unknown, second: unknown) =>
    json
      .replace(`"${name}":${JSON.stringify(payload[name])}`, `"${name}":${JSON.stringify(second)}`)
      .replace("{", `{${JSON.stringify(name)}:${JSON.stringify(first)},`);
  guarantee("with a claim twice means the last one, to every reader (RFC 7519 section 4)", [
    ...["sid", "sub", "iss"].flatMap((name): TokenCase[] => [
      {
        name: `${name}: another's, then its own`,
        token: forgeToken(header, twice(name, other, payload[name]), privateKey),
        outcome: "accepted",
      },
      {
        name: `${name}: its own, then another's`,
        token: forgeToken(header, twice(name, payload[name], other), privateKey),
        outcome: "TOKEN_INVALID",
      },
    ]),
    {
      name: "claims in __proto__",
      token: forgeToken(header, `{"__proto__":${json}}`, privateKey),
      outcome: "TOKEN_INVALID",
    },
    {
      name: "sid in __proto__",
      token: forgeToken(
        header,
        JSON.stringify(without(payload, "sid")).replace("{", `{"__proto__":{"sid":"${payload["sid"]}"},`),
        privateKey,
      ),
      outcome: "TOKEN_INVALID",
    },
  ]);

  const ofLength = (length: number) => {
    const start = forged({ payload: { pad: "" } }).length;
    for (let pad = Math.floor(((length - start) * 3) / 4) - 3; ; pad++) {
      const padded = forged({ payload: { pad: "x".repeat(pad) } });
      if (padded.length >= length) {
        return padded;
      }
    }
  };
  const longest = [4096, 4095].map(ofLength).find(({ length }) => length <= 4096) ?? assert.fail();
  const tooLong = [4097, 4098].map(ofLength).find(({ length }) => length > 4096) ?? assert.fail();
  guarantee("is at most 4 KiB long", [
    { name: `${longest.length}`, token: longest, outcome: "accepted" },
    { name: `${tooLong.length}`, token: tooLong, outcome: "TOKEN_INVALID" },
    { name: "8 KiB", token: ofLength(8_192), outcome: "TOKEN_INVALID" },
    { name: "40 KiB", token: ofLength(40_960), outcome: "TOKEN_INVALID" },
  ]);
});

describe("the base64 of a token", () => {
  /** Signed again over what is written, so that nothing but the writing is wrong. */
  const signedAs = (head: string, body: string) => signEncoded(head, body, privateKey);
  /** As long as it has to be for its last letter to have bits to spare. */
  const spare = (part: object, bits: 2 | 4) => {
    for (let text = JSON.stringify(part); ; text += " ") {
      if (encode(text).length % 4 === (bits === 4 ? 2 : 3)) {
        return encode(text);
      }
    }
  };
  const LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  /** The other ways to write the same bytes. */
  const otherwise = (part: string, bits: 2 | 4) => {
    const value = LETTERS.indexOf(part.at(-1) ?? "");
    return Array.from({ length: 2 ** bits - 1 }, (_, more) => part.slice(0, -1) + LETTERS[value + more + 1]);
  };

  for (const bits of [2, 4] as const) {
    const head = spare(header, bits);
    const body = spare(payload, bits);
    guarantee(`has one form: ${bits} bits to spare are zero`, [
      { name: "as it should be", token: signedAs(head, body), outcome: "accepted" },
      ...otherwise(head, bits).map((text) => ({
        name: `header ${text.slice(-2)}`,
        token: signedAs(text, body),
        outcome: "TOKEN_INVALID" as const,
      })),
      ...otherwise(body, bits).map((text) => ({
        name: `payload ${text.slice(-2)}`,
        token: signedAs(head, text),
        outcome: "TOKEN_INVALID" as const,
      })),
    ]);
  }

  const [head = "", body = ""] = token.split(".");
  guarantee(
    "has one form: the last letter of the signature too",
    otherwise(signature, 4).map((text) => ({
      name: text.slice(-2),
      token: `${head}.${body}.${text}`,
      outcome: "TOKEN_INVALID",
    })),
  );

  /** Its parts have letters in which the two alphabets of base64 differ. */
  const telling = () => {
    for (;;) {
      const parts = forged({ payload: { pad: "\u00bf\u00be\u00ff??>>~~" } }).split(".");
      if (/-/.test(parts[2] ?? "") && /_/.test(parts[2] ?? "") && /[-_]/.test(parts[1] ?? "")) {
        return parts as [string, string, string];
      }
    }
  };
  const [, tellingBody, tellingSignature] = telling();
  const classic = (text: string) => text.replaceAll("-", "+").replaceAll("_", "/");
  /** RFC 6750 section 2.1 has no such letter in any token, and RFC 9110 section 11.4 no such parameter. */
  const refused = (name: string, text: string): TokenCase => ({
    name,
    token: text,
    outcome: /^[A-Za-z0-9._~+/-]+=/.test(`${text}=`) ? "TOKEN_INVALID" : "CREDENTIAL_MALFORMED",
  });
  guarantee("is that of URLs, without padding", [
    refused("the other alphabet in the payload", signedAs(head, classic(tellingBody))),
    refused("the other alphabet in the signature", `${head}.${tellingBody}.${classic(tellingSignature)}`),
    ...["=", "==", "===", "%3D", "%3d%3d"].flatMap((padding) => [
      refused(`${padding} after the header`, signedAs(head + padding, body)),
      refused(`${padding} after the payload`, signedAs(head, body + padding)),
      refused(`${padding} after the signature`, token + padding),
    ]),
    ...[..."!\"#$%&'()*+/:;<=>?@[\\]^`{|}~"].flatMap((mark) => [
      refused(`${mark} in the header`, signedAs(`${head.slice(0, 4)}${mark}${head.slice(4)}`, body)),
      refused(
        `${mark} in the signature`,
        `${head}.${body}.${signature.slice(0, 4)}${mark}${signature.slice(5)}`,
      ),
    ]),
    // One letter alone stands for no byte.
    refused(
      "a letter too many in the header",
      signedAs(`${head}AAAA`.slice(0, head.length + ((5 - (head.length % 4)) % 4)), body),
    ),
  ]);
});

describe("a genuine token that was changed", () => {
  const [head = "", body = "", last = ""] = token.split(".");
  const raw = decode(last);
  const after = (letter: string) => (letter === "_" ? "A" : letter === "A" ? "B" : "A");

  guarantee(
    "in any byte of its signature is not one of ours",
    Array.from({ length: raw.length * 8 }, (_, bit) => bit)
      .filter((bit) => [0, 7, (bit >> 3) % 8].includes(bit % 8))
      .map((bit) => {
        const changed = Buffer.from(raw);
        changed.writeUInt8(changed.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3);
        return { name: `bit ${bit}`, token: `${head}.${body}.${encode(changed)}`, outcome: "TOKEN_INVALID" };
      }),
  );

  guarantee(
    "in a letter is not one of ours",
    [...token.slice(0, -1)]
      .map((letter, at): TokenCase => {
        const text = token.slice(0, at) + (letter === "." ? "A" : after(letter)) + token.slice(at + 1);
        return { name: `letter ${at}`, token: text, outcome: "TOKEN_INVALID" };
      })
      .filter((_, at) => at % 2 === 0)
      .concat(
        [..."ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"]
          .map((letter) => token.slice(0, -1) + letter)
          .filter((text) => text !== token)
          .map((text) => ({ name: `last letter ${text.at(-1)}`, token: text, outcome: "TOKEN_INVALID" })),
      ),
  );

  guarantee(
    "in length is not one of ours",
    [...raw.keys()]
      .flatMap((length): TokenCase[] => [
        {
          name: `signature of ${length} bytes`,
          token: `${head}.${body}.${encode(raw.subarray(0, length))}`,
          outcome: "TOKEN_INVALID",
        },
      ])
      .concat(
        [1, 2, 3, 64].map((more) => ({
          name: `signature with ${more} bytes more`,
          token: `${head}.${body}.${encode(Buffer.concat([raw, Buffer.alloc(more)]))}`,
          outcome: "TOKEN_INVALID",
        })),
        [
          {
            name: "signature in DER",
            token: `${head}.${body}.${encode(sign("sha256", Buffer.from(`${head}.${body}`), privateKey))}`,
            outcome: "TOKEN_INVALID",
          },
        ],
      ),
  );

  guarantee(
    "in what it says is not one of ours",
    Object.entries({
      sub: randomUUID(),
      sid: randomUUID(),
      iss: "https://evil.test",
      aud: "billing",
      exp: 9_999_999_999,
      iat: 1,
      jti: "x",
      org: randomUUID(),
      role: "owner!",
      admin: true,
    }).map(([name, value]) => ({
      name,
      token: `${head}.${encode({ ...payload, [name]: value })}.${last}`,
      outcome: "TOKEN_INVALID",
    })),
  );
});

cases.guaranteeThatNoneIsRevoked();
