import { readFile } from "node:fs/promises";
import type { DescMessage, DescMethodUnary, MessageInitShape, MessageShape } from "@bufbuild/protobuf";
import { ConnectError } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-node";
import { type Config, readConfig } from "../config.ts";
import { CallError } from "./call-error.ts";
import { CommandError } from "./command-error.ts";
import { type Identity, readIdentity } from "./credential-source.ts";
import { note } from "./output.ts";
import { retryOnce } from "./retry-once.ts";
import type { ServiceOptions } from "./service-options.ts";

const TIMEOUT_MILLIS = 10_000;

export interface CallOptions {
  /** How long the answer may take; 10 seconds unless told. */
  readonly timeoutMillis?: number;
  readonly signal?: AbortSignal;
}

/** A running service, by its public API, as one identity. */
export interface Service {
  /** The organization that the calls are about. Undefined: the credential's own. */
  readonly organizationId: string | undefined;
  /** @throws CallError where it is refused or not answered. */
  call<Input extends DescMessage, Output extends DescMessage>(
    method: DescMethodUnary<Input, Output>,
    request: MessageInitShape<Input>,
    options?: CallOptions,
  ): Promise<MessageShape<Output>>;
}

/** What calls are about: one organization, or the platform, which is nobody's. */
export type Scope = "organization" | "platform";

/** @throws CommandError, ConfigError where the options or the settings lead nowhere. */
export async function openService(options: ServiceOptions, scope: Scope): Promise<Service> {
  const config = readConfig(process.env, "client");
  const identity = await readIdentity(options, config);
  if (identity.note !== undefined) {
    note(identity.note);
  }
  return await connect(identity, options, config, scope);
}

/** The same without a credential, for a call whose message is the proof. */
export async function openServiceAsNobody(options: ServiceOptions): Promise<Service> {
  const config = readConfig(process.env, "client");
  const { url } = await readIdentity(options, config);
  return await connect({ url, headers: {} }, options, config, "platform");
}

/** @throws CommandError where the files of TLS cannot be read. */
export async function connect(
  identity: Identity,
  options: ServiceOptions,
  config: Config,
  scope: Scope,
): Promise<Service> {
  const { url } = identity;
  const organizationId = options.org ?? config.organization ?? identity.organizationId;
  const named = scope === "organization" ? organizationId : undefined;
  const transport = createConnectTransport({
    baseUrl: url,
    httpVersion: "1.1",
    useBinaryFormat: true,
    defaultTimeoutMs: TIMEOUT_MILLIS,
    interceptors: [retryOnce()],
    ...(url.startsWith("https:") && { nodeOptions: await readTlsOptions(options, config) }),
  });
  return {
    organizationId,
    async call(method, request, { timeoutMillis, signal } = {}) {
      // A person names another organization than their own in the message, which takes a right of the platform's;
      // what stands in X-Org-Id has to be the credential's own.
      const isNamedInside =
        identity.headers["authorization"] !== undefined &&
        method.input.fields.some(({ localName }) => localName === "organizationId");
      const headers = {
        ...identity.headers,
        ...(named !== undefined && !isNamedInside && { "x-org-id": named }),
      };
      const asked = named !== undefined && isNamedInside ? { organizationId: named, ...request } : request;
      try {
        return (await transport.unary(method, signal, timeoutMillis, headers, asked)).message;
      } catch (error) {
        throw new CallError(ConnectError.from(error));
      }
    },
  };
}

async function readTlsOptions(options: ServiceOptions, config: Config) {
  const read = async (path: string | undefined) =>
    path === undefined
      ? undefined
      : await readFile(path).catch((error: Error) => {
          throw new CommandError(`${path} cannot be read: ${error.message}`);
        });
  const [ca, cert, key] = await Promise.all(
    [options.caFile ?? config.caFile, config.clientCertificateFile, config.clientKeyFile].map(read),
  );
  return { ...(ca && { ca }), ...(cert && { cert }), ...(key && { key }) };
}
