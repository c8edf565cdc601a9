import { constants } from "node:crypto";
import type { SecureContextOptions } from "node:tls";

/** What the files hold, in PEM (RFC 7468). */
export interface TlsPem {
  readonly certificate: Buffer;
  readonly key: Buffer;
  readonly clientCa: Buffer | undefined;
}

/**
 * The suites of TLS 1.3, and those of TLS 1.2 with forward secrecy and authenticated encryption: of what RFC
 * 9113 appendix A forbids to HTTP/2 none is left, and §9.2.2's ECDHE-RSA-AES128-GCM-SHA256 is there.
 */
const CIPHERS = [
  "TLS_AES_128_GCM_SHA256",
  "TLS_AES_256_GCM_SHA384",
  "TLS_CHACHA20_POLY1305_SHA256",
  "ECDHE-ECDSA-AES128-GCM-SHA256",
  "ECDHE-RSA-AES128-GCM-SHA256",
  "ECDHE-ECDSA-AES256-GCM-SHA384",
  "ECDHE-RSA-AES256-GCM-SHA384",
  "ECDHE-ECDSA-CHACHA20-POLY1305",
  "ECDHE-RSA-CHACHA20-POLY1305",
].join(":");

/** How TLS is spoken here, by whichever certificate. */
export function secureContextOptions({ certificate, key, clientCa }: TlsPem): SecureContextOptions {
  return {
    cert: certificate,
    key,
    ...(clientCa !== undefined && { ca: clientCa }),
    ciphers: CIPHERS,
    // RFC 8996: neither TLS 1.0 nor 1.1.
    minVersion: "TLSv1.2",
    // RFC 9113 §9.2.1: no renegotiation (OpenSSL has no compression here). And where clients are known by
    // their certificates, each connection shows its own: a ticket would outlive the certificate.
    secureOptions:
      constants.SSL_OP_NO_RENEGOTIATION | (clientCa === undefined ? 0 : constants.SSL_OP_NO_TICKET),
  };
}
