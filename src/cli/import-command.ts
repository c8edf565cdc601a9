import { readFile } from "node:fs/promises";
import { Command, Option } from "commander";
import {
  ApiKeyService,
  ApiKeyToImportSchema,
  KeyAlphabet,
  KeyHashAlgorithm,
} from "../gen/latchkey/v1/api_key_pb.ts";
import { CommandError } from "./command-error.ts";
import { withExample } from "./example.ts";
import {
  choice,
  type FileOptions,
  fileOptionsOf,
  MODES,
  requireFile,
  withFileOptions,
} from "./import-options.ts";
import { parseCount } from "./parse-option.ts";
import { openService } from "./service.ts";
import { type ServiceOptions, withOrganizationOptions } from "./service-options.ts";

const ALPHABETS = {
  hex: KeyAlphabet.HEX,
  base62: KeyAlphabet.BASE62,
  base64url: KeyAlphabet.BASE64URL,
  printable: KeyAlphabet.PRINTABLE,
} as const;

const ALGORITHMS = {
  sha256: KeyHashAlgorithm.SHA256,
  sha512: KeyHashAlgorithm.SHA512,
  "hmac-sha256": KeyHashAlgorithm.HMAC_SHA256,
  "hmac-sha512": KeyHashAlgorithm.HMAC_SHA512,
  bcrypt: KeyHashAlgorithm.BCRYPT,
  scrypt: KeyHashAlgorithm.SCRYPT,
  argon2: KeyHashAlgorithm.ARGON2,
} as const;

interface ImportOptions extends ServiceOptions, FileOptions {
  readonly formatPrefix?: string;
  readonly length: number;
  readonly alphabet: keyof typeof ALPHABETS;
  readonly algorithm: keyof typeof ALGORITHMS;
  readonly hmacSecretFile?: string;
  readonly owner?: string;
}

export function importCommand(): Command {
  const command = withOrganizationOptions(new Command("import"))
    .description("take over API keys of another system by their hashes, from JSON lines or CSV with a header")
    .argument("<file>", "the keys, one a row: name, permissions, hash, …")
    .option("--format-prefix <text>", "what the text of every key begins with")
    .addOption(
      new Option("--length <count>", "how many characters such a text has, the prefix included")
        .argParser(parseCount)
        .makeOptionMandatory(),
    )
    .addOption(choice("--alphabet <name>", "what the others are", ALPHABETS).makeOptionMandatory())
    .addOption(choice("--algorithm <name>", "how the texts were hashed", ALGORITHMS).makeOptionMandatory())
    .option("--hmac-secret-file <file>", "of an HMAC, its secret; the end of a line is none of it")
    .option("--owner <id>", "the user whose rights bound the keys; else the internal key that acts")
    .action(run);
  return withExample(
    withFileOptions(command),
    "latchkey key import keys.csv --format-prefix acme_ --length 45 --alphabet base62 --algorithm sha256",
  );
}

async function run(path: string, options: ImportOptions, self: Command): Promise<void> {
  const algorithm = ALGORITHMS[options.algorithm];
  if (options.algorithm.startsWith("hmac-") !== (options.hmacSecretFile !== undefined)) {
    self.error("an HMAC has a secret, and nothing else has: --hmac-secret-file");
  }
  await requireFile(path);
  const hmacSecret = await readHmacSecret(options.hmacSecretFile);
  const service = await openService(options, "organization");
  const { organizationId } = service;
  if (organizationId === undefined) {
    return self.error("the keys belong to an organization: --org <id>");
  }
  const mode = MODES[options.mode];
  const request = {
    organizationId,
    ownerId: options.owner ?? "",
    format: {
      prefix: options.formatPrefix ?? "",
      length: options.length,
      alphabet: ALPHABETS[options.alphabet],
    },
    hashing: { algorithm, hmacSecret },
    mode,
  };
  const [{ importFile }, { keyRows }] = await Promise.all([
    import("./import-file.ts"),
    import("./import-key-rows.ts"),
  ]);
  await importFile({
    path,
    ...fileOptionsOf(path, options),
    schema: ApiKeyToImportSchema,
    rows: keyRows(algorithm),
    async send(keys, validateOnly, call) {
      const { method } = ApiKeyService;
      return (await service.call(method.importApiKeys, { ...request, keys, validateOnly }, call)).results;
    },
  });
}

/** @returns nothing where there is no such file. */
async function readHmacSecret(path: string | undefined): Promise<Uint8Array<ArrayBuffer>> {
  if (path === undefined) {
    return new Uint8Array();
  }
  const content = await readFile(path).catch((error: Error) => {
    throw new CommandError(`${path} cannot be read: ${error.message}`);
  });
  // A text that an editor or `echo` has ended; of random bytes every one counts.
  const isText = content.every((byte) => byte >= 0x20 || byte === 0x0a || byte === 0x0d);
  const end = isText ? (/\r?\n$/.exec(content.toString("latin1"))?.[0].length ?? 0) : 0;
  return new Uint8Array(content.subarray(0, content.length - end));
}
