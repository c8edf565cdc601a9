import { execFileSync } from "node:child_process";
import { X509Certificate } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const folder = mkdtempSync(join(tmpdir(), "latchkey-tls-"));
process.once("exit", () => rmSync(folder, { recursive: true, force: true }));
let files = 0;

/** The path of a file of its own, that goes with the process. */
export function temporary(name: string, content?: string | Buffer): string {
  files += 1;
  const path = join(folder, `${files}-${name}`);
  if (content !== undefined) writeFileSync(path, content);
  return path;
}

const openssl = (...args: string[]) => execFileSync("openssl", args, { cwd: folder, stdio: "pipe" });
const ellipticKey = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];

/** A certificate and its key, in files and as they are in them. */
export interface Identity {
  readonly certificateFile: string;
  readonly keyFile: string;
  readonly cert: Buffer;
  readonly key: Buffer;
  /** The certificate's, SHA-256. */
  readonly fingerprint: string;
}

export interface Authority extends Identity {
  issue(options?: IssueOptions): Authority;
}

export interface IssueOptions {
  /** Common name. */
  readonly name?: string;
  readonly use?: "serverAuth" | "clientAuth";
  /** YYYYMMDDHHMMSSZ */
  readonly from?: string;
  readonly to?: string;
  /** What the key is, for `openssl req`. */
  readonly key?: readonly string[];
  readonly isAuthority?: boolean;
}

/** Where the ports here are. */
const HOST = "subjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1";

export function createAuthority(name = "Test authority"): Authority {
  const certificateFile = temporary("ca.pem");
  const keyFile = temporary("ca.key");
  openssl(
    "req",
    "-x509",
    ...ellipticKey,
    "-keyout",
    keyFile,
    "-out",
    certificateFile,
    "-subj",
    `/CN=${name}`,
  );
  return read(certificateFile, keyFile);
}

function issue(
  authority: { readonly certificateFile: string; readonly keyFile: string },
  { name = "test", use = "serverAuth", from, to, key = ellipticKey, isAuthority = false }: IssueOptions = {},
): Authority {
  const [certificateFile, keyFile, request] = [temporary("pem"), temporary("key"), temporary("csr")];
  openssl("req", "-new", ...key, "-keyout", keyFile, "-out", request, "-subj", `/CN=${name}`);
  // `openssl ca`, because `openssl x509` cannot set dates before version 3.4.
  const database = temporary("index", "");
  const config = temporary(
    "cnf",
    [
      "[ca]",
      "default_ca = a",
      "[a]",
      `database = ${database}`,
      `new_certs_dir = ${folder}`,
      "rand_serial = yes",
      "default_md = sha256",
      "policy = p",
      "x509_extensions = x",
      "[p]",
      "commonName = supplied",
      "[x]",
      HOST,
      `extendedKeyUsage = ${use}`,
      `basicConstraints = critical, CA:${isAuthority}`,
    ].join("\n"),
  );
  openssl(
    ...["ca", "-batch", "-notext", "-config", config, "-in", request, "-out", certificateFile],
    ...["-cert", authority.certificateFile, "-keyfile", authority.keyFile],
    ...(from === undefined ? [] : ["-startdate", from]),
    ...(to === undefined ? ["-days", "2"] : ["-enddate", to]),
  );
  return read(certificateFile, keyFile);
}

function read(certificateFile: string, keyFile: string): Authority {
  const cert = readFileSync(certificateFile);
  const fingerprint = new X509Certificate(cert).fingerprint256;
  return {
    ...{ certificateFile, keyFile, cert, key: readFileSync(keyFile), fingerprint },
    issue: (options) => issue({ certificateFile, keyFile }, options),
  };
}
