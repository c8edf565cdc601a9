import type { SeededDevelopment } from "./seed-development.ts";

/** What `npm start` tells the person who ran it: where it is, the credentials once, calls to paste. */
export function welcome({ credentials, path, isNew }: SeededDevelopment): string {
  const { url, organizationId, email, password, apiKey, internalKey } = credentials;
  if (!isNew) {
    return `\nLatchkey is at ${url}; the credentials of its first start are in ${path}.\n\n`;
  }
  const method = "latchkey.v1.AuthenticationService/Authenticate";
  const asks = (name: string, value: string) => JSON.stringify({ headers: [{ name, value }] });
  return `
Latchkey is at ${url}

  organization  acme (${organizationId})
  user          ${email}
  password      ${password}
  API key       ${apiKey}
  internal key  ${internalKey}

They are told once, and kept in ${path}. Who is behind that API key?

  grpcurl -plaintext -d '${asks("X-API-Key", apiKey)}' \\
    ${url.replace(/^https?:\/\//, "")} ${method}

  curl ${url}/${method} -H 'Content-Type: application/json' \\
    -d '${asks("X-API-Key", apiKey)}'

  npx buf curl --http2-prior-knowledge -d '${asks("X-Internal-Key", internalKey)}' \\
    ${url}/${method}

`;
}
