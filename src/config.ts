import { availableParallelism } from "node:os";
import { parseDatabaseUrl } from "./storage/database-connection.ts";
import { isUuid } from "./uuid.ts";

/** The commands that read settings. `dev` is `npm start`; `client` is each that talks to a running service. */
export type Command = "dev" | "serve" | "migrate" | "bootstrap" | "rekey" | "client";

interface Setting<Value> {
  readonly variable: string;
  /** For people: what it does. */
  readonly about: string;
  /** How the value is written, for people. */
  readonly form: string;
  /** @throws Error whose message ends the sentence "LATCHKEY_… …", without repeating the value. */
  readonly parse: (text: string) => Value;
  /** What it is where it is not set, as it would be written; per command where they differ. */
  readonly initial?: string | Partial<Record<Command, string>>;
  /** The commands that do not run without it. */
  readonly requiredBy?: readonly Command[];
  /** Another variable, without which this one means nothing. */
  readonly goesWith?: string;
}

const setting = <Value>(definition: Setting<Value>): Setting<Value> => definition;

/** How a number of workers is written, also as an option. */
export const WORKERS_FORM = "1 to 256, or auto: one for each core";

/** Every setting there is. `docs/configuration.md` is made from this table. */
export const SETTINGS = {
  databaseUrl: setting({
    variable: "DATABASE_URL",
    about:
      "The PostgreSQL database, version 15 or later. `npm start` without it runs a PostgreSQL of its own under the data directory.",
    form: "postgres://user:password@host:5432/database",
    parse: parseDatabaseUrl,
    requiredBy: ["serve", "migrate", "bootstrap", "rekey"],
  }),
  encryptionKey: setting({
    variable: "LATCHKEY_ENCRYPTION_KEY",
    about:
      "The key under which signing keys and peppers are encrypted in the database. Losing it loses them. `openssl rand -base64 32` makes one; `npm start` makes its own under the data directory.",
    form: "32 bytes in base64",
    parse: encryptionKey,
    requiredBy: ["serve", "bootstrap", "rekey"],
  }),
  previousEncryptionKey: setting({
    variable: "LATCHKEY_ENCRYPTION_KEY_PREVIOUS",
    about:
      "Another key under which values in the database may still be encrypted: they are read, and nothing is encrypted under it. `latchkey rekey` moves them to the key above. See [production.md](production.md#another-encryption-key).",
    form: "32 bytes in base64; not without LATCHKEY_ENCRYPTION_KEY",
    parse: encryptionKey,
    goesWith: "LATCHKEY_ENCRYPTION_KEY",
  }),
  publicUrl: setting({
    variable: "LATCHKEY_PUBLIC_URL",
    about:
      "Where clients reach this deployment. It is the issuer of tokens (`iss`), whatever a request says its host is.",
    form: "an http or https URL without a trailing slash",
    parse: publicUrl,
    requiredBy: ["serve"],
  }),
  audience: setting({
    variable: "LATCHKEY_AUDIENCE",
    about: "The audience of tokens (`aud`), and what is expected of them where a request asks for none.",
    form: "up to 255 visible characters; by default the public URL",
    parse: audience,
  }),
  host: setting({
    variable: "LATCHKEY_HOST",
    about: "The address to listen on.",
    form: "a host name or an IP address",
    parse: text,
    initial: { dev: "127.0.0.1", serve: "0.0.0.0" },
  }),
  port: setting({
    variable: "LATCHKEY_PORT",
    about: "The port to listen on: gRPC, gRPC-Web, Connect and plain HTTP together.",
    form: "1 to 65535",
    parse: integer(1, 65_535),
    initial: "8080",
  }),
  workers: setting({
    variable: "LATCHKEY_WORKERS",
    about:
      "How many processes `latchkey serve` answers with, on that one port. Its option `--workers` goes before. See [production.md](production.md#several-workers).",
    form: WORKERS_FORM,
    parse: workers,
    initial: { serve: "1" },
  }),
  tlsCertificateFile: setting({
    variable: "LATCHKEY_TLS_CERT_FILE",
    about:
      "The port's certificate, then those that lead to its authority. With it the port speaks TLS only. Changes of this file, of the key's and of the authorities' are taken up while the service runs.",
    form: "a file in PEM; not without LATCHKEY_TLS_KEY_FILE",
    parse: text,
    goesWith: "LATCHKEY_TLS_KEY_FILE",
  }),
  tlsKeyFile: setting({
    variable: "LATCHKEY_TLS_KEY_FILE",
    about: "The key of that certificate.",
    form: "a file in PEM without a passphrase; not without LATCHKEY_TLS_CERT_FILE",
    parse: text,
    goesWith: "LATCHKEY_TLS_CERT_FILE",
  }),
  tlsClientCaFile: setting({
    variable: "LATCHKEY_TLS_CLIENT_CA_FILE",
    about:
      "The authorities whose certificates clients may come with. With it the port asks for them, and refuses those that do not hold.",
    form: "a file in PEM; not without LATCHKEY_TLS_CERT_FILE",
    parse: text,
    goesWith: "LATCHKEY_TLS_CERT_FILE",
  }),
  tlsClientCertificates: setting({
    variable: "LATCHKEY_TLS_CLIENT_CERTIFICATES",
    about: "Whether clients may also come without a certificate.",
    form: "optional or required; not without LATCHKEY_TLS_CLIENT_CA_FILE",
    parse: oneOf("optional", "required"),
    initial: "required",
    goesWith: "LATCHKEY_TLS_CLIENT_CA_FILE",
  }),
  corsOrigins: setting({
    variable: "LATCHKEY_CORS_ORIGINS",
    about: "The origins whose pages may call from a browser, by Connect-Web or gRPC-Web.",
    form: "origins such as https://dashboard.example.com, separated by commas",
    parse: (list) => list.split(",").map((item) => origin(item.trim())),
  }),
  leanTransport: setting({
    variable: "LATCHKEY_LEAN_TRANSPORT",
    about:
      "Whether plain calls of `Authenticate` are served by the lean transport, which answers as the other does and takes a fraction of its time. To turn it off is for finding out whether a fault is its.",
    form: "on or off",
    parse: oneOf("on", "off"),
    initial: "on",
  }),
  callers: setting({
    variable: "LATCHKEY_CALLERS",
    about:
      "Who may call `Authenticate`: `authenticated` asks for a credential that holds `auth.authenticate`; `any` lets in whoever reaches the port.",
    form: "any or authenticated; `npm start` on a loopback address: any",
    parse: oneOf("any", "authenticated"),
    initial: { serve: "authenticated" },
  }),
  apiKeyPrefix: setting({
    variable: "LATCHKEY_API_KEY_PREFIX",
    about: "What new API keys begin with.",
    form: "a lower-case letter, then up to 15 lower-case letters and digits; none of `sk`, `rt` and `in`",
    parse: keyPrefix,
    initial: "ak",
  }),
  apiKeyOldPrefixes: setting({
    variable: "LATCHKEY_API_KEY_OLD_PREFIXES",
    about: "Prefixes of API keys that were made before the prefix was changed, and stay accepted.",
    form: "prefixes, separated by commas",
    parse: (list) => list.split(",").map((prefix) => keyPrefix(prefix.trim())),
  }),
  signingAlgorithm: setting({
    variable: "LATCHKEY_SIGNING_ALGORITHM",
    about:
      "How tokens are signed. A change makes a next signing key of the new algorithm, which takes its turn like any other; tokens of the one before stay good.",
    form: "ES256, EdDSA or RS256",
    parse: oneOf("ES256", "EdDSA", "RS256"),
    initial: "ES256",
  }),
  signingKeyDays: setting({
    variable: "LATCHKEY_SIGNING_KEY_DAYS",
    about: "For how many days a signing key signs before another takes its place.",
    form: "0 to 3650; 0: until somebody rotates it",
    parse: integer(0, 3650),
    initial: "90",
  }),
  passwordMinimumLength: setting({
    variable: "LATCHKEY_PASSWORD_MIN_LENGTH",
    about: "The fewest characters (code points) of a new password.",
    form: "8 to 64",
    parse: integer(8, 64),
    initial: "15",
  }),
  loginSourceLimit: setting({
    variable: "LATCHKEY_LOGIN_SOURCE_LIMIT",
    about:
      "How many logins from one address may fail in 15 minutes, over all accounts. The address is that of the socket's other end: behind a proxy everybody's is the proxy's, so turn it off there, or allow for everybody together.",
    form: "0 to 1000000; 0 turns it off",
    parse: integer(0, 1_000_000),
    initial: "1000",
  }),
  memoryMegabytes: setting({
    variable: "LATCHKEY_MEMORY_MB",
    about:
      "How much memory may be used to answer from about credentials that were asked about before, in MiB, over all workers: about 2 KiB each, and twice what the names of its permissions take. What is remembered is as live as what is read: see [caching.md](caching.md). 0: the database is asked each time.",
    form: "0 to 65536",
    parse: integer(0, 65_536),
    initial: "256",
  }),
  noticeSeconds: setting({
    variable: "LATCHKEY_NOTICE_SECONDS",
    about:
      "How long the service goes on accepting calls after SIGTERM while /readyz and gRPC health say no, so that balancers can turn away first.",
    form: "0 to 60",
    parse: integer(0, 60),
    initial: { dev: "0", serve: "5" },
  }),
  drainSeconds: setting({
    variable: "LATCHKEY_DRAIN_SECONDS",
    about: "How long calls in flight may then take before they are cut.",
    form: "0 to 300",
    parse: integer(0, 300),
    initial: "20",
  }),
  logLevel: setting({
    variable: "LATCHKEY_LOG_LEVEL",
    about: "The least grave lines that are logged.",
    form: "trace, debug, info, warn, error or fatal",
    parse: oneOf("trace", "debug", "info", "warn", "error", "fatal"),
    initial: "info",
  }),
  dataDirectory: setting({
    variable: "LATCHKEY_DATA_DIR",
    about: "Where `npm start` keeps its database, its encryption key and `dev.json`.",
    form: "a folder",
    parse: text,
    initial: ".latchkey",
  }),
  url: setting({
    variable: "LATCHKEY_URL",
    about: "The service that the commands of [cli.md](cli.md) talk to.",
    form: "an http or https URL without a trailing slash",
    parse: publicUrl,
    initial: "http://127.0.0.1:8080",
  }),
  credential: setting({
    variable: "LATCHKEY_CREDENTIAL",
    about:
      "The credential of those commands, unless `--credential-file` gives one. Where neither does, it is the internal key of `dev.json`, if that is about the service in question.",
    form: "sk_…, ak_… or eyJ…: an internal key, an API key or a user's token",
    parse: credential,
  }),
  organization: setting({
    variable: "LATCHKEY_ORGANIZATION",
    about: "The organization that those commands are about, unless `--org` names one.",
    form: "its id, a UUID",
    parse: organizationId,
  }),
  caFile: setting({
    variable: "LATCHKEY_CA_FILE",
    about: "The authorities that vouch for the service's certificate, in place of those that Node knows.",
    form: "a file in PEM",
    parse: text,
  }),
  clientCertificateFile: setting({
    variable: "LATCHKEY_CLIENT_CERT_FILE",
    about: "The certificate that those commands come with, where the service asks for one.",
    form: "a file in PEM; not without LATCHKEY_CLIENT_KEY_FILE",
    parse: text,
    goesWith: "LATCHKEY_CLIENT_KEY_FILE",
  }),
  clientKeyFile: setting({
    variable: "LATCHKEY_CLIENT_KEY_FILE",
    about: "The key of that certificate.",
    form: "a file in PEM without a passphrase; not without LATCHKEY_CLIENT_CERT_FILE",
    parse: text,
    goesWith: "LATCHKEY_CLIENT_CERT_FILE",
  }),
  callerKey: setting({
    variable: "LATCHKEY_CALLER_KEY",
    about:
      "The internal key with which `latchkey authenticate` presents itself, in place of that credential.",
    form: "sk_…",
    parse: text,
  }),
} as const;

/** What internal keys and refresh tokens begin with. */
const RESERVED_PREFIXES = new Set(["sk", "rt", "in"]);

type Settings = typeof SETTINGS;
type ValueOf<Definition> = Definition extends Setting<infer Value> ? Value : never;

/** The value of each setting; undefined where it is not set and has no initial value. */
export type Config = { readonly [Name in keyof Settings]: ValueOf<Settings[Name]> | undefined };

/** Everything that is wrong with the settings, for a person. */
export class ConfigError extends Error {
  override readonly name = "ConfigError";
  readonly faults: readonly string[];

  constructor(faults: readonly string[]) {
    super(faults.join("\n"));
    this.faults = faults;
  }
}

/**
 * Reads the settings of a command.
 *
 * @throws ConfigError with every fault at once. A `LATCHKEY_*` variable that is not in the table is one: a
 * misspelt setting must not silently leave a door as it was.
 */
export function readConfig(env: NodeJS.ProcessEnv, command: Command): Config {
  const faults: string[] = [];
  const known = new Set(Object.values(SETTINGS).map(({ variable }) => variable));
  for (const name of Object.keys(env).filter((name) => name.startsWith("LATCHKEY_") && !known.has(name))) {
    faults.push(`${name} is not a setting of Latchkey; check its spelling`);
  }
  const read = (definition: Setting<unknown>): unknown => {
    const { variable, initial, parse, form, requiredBy, goesWith } = definition;
    const value = env[variable] ?? (typeof initial === "object" ? initial[command] : initial);
    if (value === undefined) {
      if (requiredBy?.includes(command)) {
        faults.push(`${variable} is not set; it is needed: ${form}`);
      }
      return undefined;
    }
    try {
      const parsed = parse(value);
      if (goesWith !== undefined && env[variable] !== undefined && env[goesWith] === undefined) {
        faults.push(`${variable} is set and ${goesWith} is not; they go together`);
      }
      return parsed;
    } catch (error) {
      faults.push(`${variable} ${error instanceof Error ? error.message : "is wrong"}; write ${form}`);
      return undefined;
    }
  };
  const values = Object.entries(SETTINGS).map(([name, definition]) => [name, read(definition)]);
  if (faults.length > 0) {
    throw new ConfigError(faults);
  }
  return Object.fromEntries(values) as Config;
}

/** A setting that the command requires, or that has an initial value for it. */
export function set<Value>(value: Value | undefined): Value {
  if (value === undefined) {
    throw new Error("a setting was read that the command does not require");
  }
  return value;
}

/** What the port needs to speak TLS. Undefined: it speaks plaintext. */
export function tlsSettings(config: Config) {
  const { tlsCertificateFile, tlsKeyFile, tlsClientCaFile, tlsClientCertificates } = config;
  if (tlsCertificateFile === undefined || tlsKeyFile === undefined) {
    return undefined;
  }
  return {
    certificateFile: tlsCertificateFile,
    keyFile: tlsKeyFile,
    clientCaFile: tlsClientCaFile,
    clientCertificates: set(tlsClientCertificates),
  };
}

/** @throws Error as every setting's parser. */
export function workers(text: string): number {
  return text === "auto" ? availableParallelism() : integer(1, 256)(text);
}

function text(value: string): string {
  if (value === "") {
    throw new Error("is empty");
  }
  return value;
}

function integer(least: number, most: number): (value: string) => number {
  return (value) => {
    const number = /^\d{1,9}$/.test(value) ? Number(value) : Number.NaN;
    if (!(number >= least && number <= most)) {
      throw new Error("is out of range or no whole number");
    }
    return number;
  };
}

function oneOf<const Choice extends string>(...choices: readonly Choice[]): (value: string) => Choice {
  return (value) => {
    const choice = choices.find((candidate) => candidate === value);
    if (choice === undefined) {
      throw new Error("is none of its choices");
    }
    return choice;
  };
}

function encryptionKey(value: string): Buffer {
  const key = Buffer.from(value, "base64");
  if (key.length !== 32 || key.toString("base64") !== value) {
    throw new Error("is not 32 bytes in base64");
  }
  return key;
}

function publicUrl(value: string): string {
  const url = URL.canParse(value) ? new URL(value) : undefined;
  const isPlain = url?.username === "" && url.password === "" && url.search === "" && url.hash === "";
  if (url === undefined || !/^https?:$/.test(url.protocol) || !isPlain || value.endsWith("/")) {
    throw new Error("is not such a URL");
  }
  return value;
}

function origin(value: string): string {
  if (!URL.canParse(value) || new URL(value).origin !== value) {
    throw new Error("holds something that is not an origin");
  }
  return value;
}

function credential(value: string): string {
  if (!/^[\x21-\x7e]{1,4096}$/.test(value)) {
    throw new Error("is empty, too long or holds characters that no credential has");
  }
  return value;
}

function organizationId(value: string): string {
  const id = value.toLowerCase();
  if (!isUuid(id)) {
    throw new Error("is no UUID");
  }
  return id;
}

function audience(value: string): string {
  if (!/^[\x21-\x7e]{1,255}$/.test(value)) {
    throw new Error("is empty, too long or holds other characters");
  }
  return value;
}

function keyPrefix(value: string): string {
  if (!/^[a-z][a-z0-9]{0,15}$/.test(value) || RESERVED_PREFIXES.has(value)) {
    throw new Error("is not such a prefix");
  }
  return value;
}
