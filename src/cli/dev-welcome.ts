import type { SeededDevelopment } from "./seed-development.ts";

/** What `npm start` tells the person who ran it: where it is, the credentials once, calls to paste. */
export function welcome({ credentials, path, isNew }: SeededDevelopment): string {
  const { url, organizationId, email, password, apiKey, internalKey } = credentials;
  if (!isNew) {
    return `\nLatchkey is at ${url}; the credentials of its first start are in ${path}.\n\n`;
  }
  const method = "latchkey.v1.AuthenticationService/Authenticate";
  const isTls = url.startsWith("https:");
  // The certificate is the reader's own: they know what vouches for it.
  const [grpcurl, curl, buf] = isTls
    ? ["grpcurl -cacert ca.pem", "curl --cacert ca.pem", "npx buf curl --cacert ca.pem"]
    : ["grpcurl -plaintext", "curl", "npx buf curl --http2-prior-knowledge"];
  const asks = (name: string, value: string) => JSON.stringify({ headers: [{ name, value }] });
  return `
Latchkey is at ${url}

  organization  acme (${organizationId})
  user          ${email}
  password      ${password}
  API key       ${apiKey}
  internal key  ${internalKey}

They are told once, and kept in ${path}. Who is behind that API key?

  ${grpcurl} -d '${asks("X-API-Key", apiKey)}' \\
    ${url.replace(/^https?:\/\//, "")} ${method}

  ${curl} ${url}/${method} -H 'Content-Type: application/json' \\
    -d '${asks("X-API-Key", apiKey)}'

  ${buf} -d '${asks("X-Internal-Key", internalKey)}' \\
    ${url}/${method}

`;
}
