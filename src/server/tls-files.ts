import { createPrivateKey, type KeyObject, X509Certificate } from "node:crypto";
import { readFile } from "node:fs/promises";
import { createSecureContext } from "node:tls";
import { isDeepStrictEqual } from "node:util";
import { secureContextOptions, type TlsPem } from "./tls-protocol.ts";

export interface TlsSettings {
  /** The server's certificate first, then what leads from it to its root. PEM, as the other files are. */
  readonly certificateFile: string;
  readonly keyFile: string;
  /** The authorities of client certificates. Undefined: clients are not asked for any. */
  readonly clientCaFile?: string | undefined;
  /** Whether a client may come without a certificate. One that does not hold is refused either way. */
  readonly clientCertificates: "optional" | "required";
  /** How often the files are looked at, in milliseconds. By default every 3 seconds. */
  readonly pollMs?: number;
}

/** What the files held when they were last good. */
export interface Tls {
  readonly settings: TlsSettings;
  readonly pem: TlsPem;
  /** The server's own. */
  readonly certificate: X509Certificate;
}

/** Something is wrong with the files of TLS; the message is for a person and names the variable. */
export class TlsFilesError extends Error {
  override readonly name = "TlsFilesError";
}

/** The variables that name the files. */
const CERTIFICATE = "LATCHKEY_TLS_CERT_FILE";
const KEY = "LATCHKEY_TLS_KEY_FILE";
const CLIENT_CA = "LATCHKEY_TLS_CLIENT_CA_FILE";

/** @throws TlsFilesError where the port could not serve with these files. */
export async function readTls(settings: TlsSettings): Promise<Tls> {
  return checkTls(settings, await readPem(settings));
}

/**
 * The files' bytes, whatever they are, all of the same time: they are read until nothing changes in between.
 *
 * @param known where they are these still, reading them once is enough.
 */
export async function readPem(settings: TlsSettings, known?: TlsPem): Promise<TlsPem> {
  let pem = await readOnce(settings);
  for (
    let before = known;
    before === undefined || !isDeepStrictEqual(pem, before);
    pem = await readOnce(settings)
  ) {
    before = pem;
  }
  return pem;
}

async function readOnce(settings: TlsSettings): Promise<TlsPem> {
  const { certificateFile, keyFile, clientCaFile } = settings;
  return {
    certificate: await read(CERTIFICATE, certificateFile),
    key: await read(KEY, keyFile),
    clientCa: clientCaFile === undefined ? undefined : await read(CLIENT_CA, clientCaFile),
  };
}

/**
 * A certificate out of its time passes: to verify it is the client's part, and some (balancers, say) do not.
 * Not to start would take the service from those as well.
 */
export function checkTls(settings: TlsSettings, pem: TlsPem): Tls {
  const certificate = firstCertificate(CERTIFICATE, pem.certificate);
  if (!certificate.checkPrivateKey(privateKey(pem.key))) {
    throw new TlsFilesError(`${KEY} is not the key of the first certificate in ${CERTIFICATE}`);
  }
  // OpenSSL passes over what is no certificate, and would silently know fewer authorities, or none.
  if (pem.clientCa !== undefined) firstCertificate(CLIENT_CA, pem.clientCa);
  try {
    createSecureContext(secureContextOptions(pem));
  } catch (error) {
    throw new TlsFilesError(`${CERTIFICATE} cannot be used: ${messageOf(error)}`);
  }
  return { settings, pem, certificate };
}

/** A fault of the certificate's time. */
export function outOfTime({ certificate }: Tls, now = new Date()): TlsFilesError | undefined {
  const { validFromDate, validToDate } = certificate;
  const fault = (time: string) => new TlsFilesError(`${CERTIFICATE} holds a certificate that ${time}`);
  if (now > validToDate) return fault(`expired at ${validToDate.toISOString()}`);
  if (now < validFromDate) return fault(`is valid only from ${validFromDate.toISOString()} on`);
  return undefined;
}

async function read(variable: string, file: string): Promise<Buffer> {
  try {
    return await readFile(file);
  } catch (error) {
    throw new TlsFilesError(`${variable} cannot be read: ${messageOf(error)}`);
  }
}

/** RFC 7468: what is outside the blocks is commentary. Every block that is a certificate has to be a good one. */
function firstCertificate(variable: string, pem: Buffer): X509Certificate {
  const certificates: X509Certificate[] = [];
  const rest = pem
    .toString("latin1")
    .replace(/-----BEGIN ([^-]*)-----.*?-----END \1-----/gs, (block, label) => {
      if (label.endsWith("CERTIFICATE")) certificates.push(parseCertificate(variable, block));
      return "";
    });
  if (/-----(BEGIN|END) /.test(rest)) throw new TlsFilesError(`${variable} is cut short or damaged`);
  const [first] = certificates;
  if (first === undefined) throw new TlsFilesError(`${variable} holds no certificate in PEM`);
  return first;
}

function parseCertificate(variable: string, pem: string): X509Certificate {
  try {
    return new X509Certificate(pem);
  } catch {
    throw new TlsFilesError(`${variable} holds a certificate that cannot be read`);
  }
}

function privateKey(pem: Buffer): KeyObject {
  try {
    return createPrivateKey(pem);
  } catch {
    // The label or the header of an encrypted key (RFC 7468 §11, RFC 1421 §4.6.1.1).
    const isEncrypted = pem.includes("ENCRYPTED");
    throw new TlsFilesError(
      isEncrypted
        ? `${KEY} is encrypted: write it without a passphrase`
        : `${KEY} holds no private key in PEM`,
    );
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
