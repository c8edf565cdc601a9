import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { describe, test } from "node:test";
import { SETTINGS } from "../../src/config.ts";
import { outOfTime, readTls, TlsFilesError, type TlsSettings } from "../../src/server/tls-files.ts";
import { createAuthority, temporary } from "./certificates.ts";

const authority = createAuthority();
const good = authority.issue();
const other = authority.issue();

const settings = (some: Partial<TlsSettings>): TlsSettings => ({
  ...{ certificateFile: good.certificateFile, keyFile: good.keyFile, clientCertificates: "required" },
  ...some,
});
const file = (...contents: (Buffer | string)[]) =>
  temporary("pem", Buffer.concat(contents.map((content) => Buffer.from(content))));
const openssl = (input: Buffer, ...args: string[]) => execFileSync("openssl", args, { input, stdio: "pipe" });
const cut = (pem: Buffer) => pem.subarray(0, pem.length - 40);

describe("TLS files are refused, naming the variable,", () => {
  const certificate = SETTINGS.tlsCertificateFile.variable;
  const key = SETTINGS.tlsKeyFile.variable;
  const clientCa = SETTINGS.tlsClientCaFile.variable;
  const weak = { key: ["-newkey", "rsa:1024", "-nodes"] };
  const encrypted = openssl(good.key, "pkcs8", "-topk8", "-passout", "pass:hunter2");
  const damaged = Buffer.from(good.cert.toString().replace(/\n[^-\n]{8}/, "\nAAAAAAAA"));

  const cases: readonly (readonly [what: string, some: Partial<TlsSettings>, message: RegExp])[] = [
    [
      "where there is none",
      { certificateFile: "/nowhere.pem" },
      /^LATCHKEY_TLS_CERT_FILE cannot be read: ENOENT/,
    ],
    ["where one is a folder", { keyFile: "/" }, /^LATCHKEY_TLS_KEY_FILE cannot be read: EISDIR/],
    [
      "where the authorities are nowhere",
      { clientCaFile: "/nowhere.pem" },
      /^LATCHKEY_TLS_CLIENT_CA_FILE cannot/,
    ],
    [
      "where the certificate's is empty",
      { certificateFile: file() },
      /^LATCHKEY_TLS_CERT_FILE holds no certificate in PEM$/,
    ],
    ["where it is the key's", { certificateFile: good.keyFile }, /^LATCHKEY_TLS_CERT_FILE holds no cert/],
    [
      "where it is DER",
      { certificateFile: file(openssl(good.cert, "x509", "-outform", "der")) },
      /^LATCHKEY_TLS_CERT_FILE holds no certificate in PEM$/,
    ],
    [
      "where it is cut short",
      { certificateFile: file(cut(good.cert)) },
      /^LATCHKEY_TLS_CERT_FILE is cut short or damaged$/,
    ],
    [
      "where it is cut short within the chain",
      { certificateFile: file(good.cert, cut(authority.cert)) },
      /^LATCHKEY_TLS_CERT_FILE is cut short or damaged$/,
    ],
    [
      "where it is damaged",
      { certificateFile: file(damaged) },
      /^LATCHKEY_TLS_CERT_FILE holds a certificate that cannot/,
    ],
    [
      "where the key is cut short",
      { keyFile: file(cut(good.key)) },
      /^LATCHKEY_TLS_KEY_FILE holds no private/,
    ],
    ["where the key has a passphrase", { keyFile: file(encrypted) }, /^LATCHKEY_TLS_KEY_FILE is encrypted/],
    [
      "where the key is another's",
      { keyFile: other.keyFile },
      /^LATCHKEY_TLS_KEY_FILE is not the key of the first certificate in LATCHKEY_TLS_CERT_FILE$/,
    ],
    [
      "where the chain is the wrong way round",
      { certificateFile: file(authority.cert, good.cert) },
      /^LATCHKEY_TLS_KEY_FILE is not the key of the first certificate/,
    ],
    [
      "where the key is too small",
      authority.issue(weak),
      /^LATCHKEY_TLS_CERT_FILE cannot be used: .*key too small/,
    ],
    [
      "where there are no authorities",
      { clientCaFile: file("none") },
      /^LATCHKEY_TLS_CLIENT_CA_FILE holds no/,
    ],
    [
      "where one of the authorities is damaged",
      { clientCaFile: file(authority.cert, damaged) },
      /^LATCHKEY_TLS_CLIENT_CA_FILE holds a certificate that cannot/,
    ],
  ];
  for (const [what, some, message] of cases) {
    test(what, async () => {
      await assert.rejects(readTls(settings(some)), (fault) => {
        assert.ok(fault instanceof TlsFilesError);
        assert.match(fault.message, message);
        assert.doesNotMatch(fault.message, /hunter2|PRIVATE KEY/);
        assert.ok([certificate, key, clientCa].some((variable) => fault.message.startsWith(variable)));
        return true;
      });
    });
  }
});

describe("TLS files are taken", () => {
  const rsa = ["-newkey", "rsa:2048", "-nodes"];
  const commented = "subject=CN = test\n\n";

  for (const [what, some] of [
    [
      "with the chain and comments",
      { certificateFile: file(commented, good.cert, commented, authority.cert) },
    ],
    ["with CRLF", { certificateFile: file(good.cert.toString().replaceAll("\n", "\r\n")) }],
    ["as one file", { certificateFile: file(good.key, good.cert), keyFile: file(good.cert, good.key) }],
    [
      "with a bundle of authorities",
      { clientCaFile: file(authority.cert, commented, createAuthority().cert) },
    ],
    ["with an RSA key", authority.issue({ key: rsa })],
    ["with an Ed25519 key", authority.issue({ key: ["-newkey", "ed25519", "-nodes"] })],
  ] as const) {
    test(what, async () => {
      assert.equal(outOfTime(await readTls(settings(some))), undefined);
    });
  }

  test("though their certificate's time is over or has not come, which is told", async () => {
    const over = authority.issue({ from: "20200101000000Z", to: "20200102000000Z" });
    assert.match(
      outOfTime(await readTls(settings(over)))?.message ?? "",
      /_CERT_FILE .*expired at 2020-01-02T/,
    );
    const early = authority.issue({ from: "20980101000000Z", to: "20990102000000Z" });
    assert.match(
      outOfTime(await readTls(settings(early)))?.message ?? "",
      /_CERT_FILE .*valid only from 2098-/,
    );
  });
});
