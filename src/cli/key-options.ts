import type { MessageInitShape } from "@bufbuild/protobuf";
import { timestampFromDate } from "@bufbuild/protobuf/wkt";
import { Option } from "commander";
import type { RateLimitSchema } from "../gen/latchkey/v1/key_pb.ts";
import {
  parseExpiry,
  parseList,
  parseMetadata,
  parseRateLimit,
  type RateLimitOption,
} from "./parse-option.ts";

/** Options of keys. One word stands for the absence of each: `never`, `any`, `none`. */

/** A key has at least one permission: there is no word for none, which some would read as all. */
export const permissionOption = () =>
  new Option(
    "--permission <name>",
    "what it may do: a name, or a pattern such as 'calls.*'; again, or with commas, for more",
  ).argParser(parseList());

export const expiresOption = () =>
  new Option("--expires <when>", "when it ends: 90d, 2027-01-31, 2027-01-31T10:00:00Z or never").argParser(
    parseExpiry,
  );

export const cidrOption = () =>
  new Option(
    "--cidr <range>",
    "an address range that it may be used from, or any; again, or with commas, for more",
  ).argParser(parseList("any"));

export const rateLimitOption = () =>
  new Option("--rate-limit <limit>", "how often it may be used: 100/60s, or none").argParser(parseRateLimit);

export const metadataOption = () =>
  new Option("--metadata <name=value>", "what to remember of it, or none; again for more").argParser(
    parseMetadata,
  );

export interface KeyOptions {
  readonly permission?: readonly string[];
  readonly expires?: Date | "never";
  readonly cidr?: readonly string[];
}

export interface ApiKeyOptions extends KeyOptions {
  readonly rateLimit?: RateLimitOption | "none";
  readonly metadata?: Readonly<Record<string, string>> | "none";
}

const rangesOf = (cidr: readonly string[]): string[] => (cidr.includes("any") ? [] : [...cidr]);

/** How a new key begins. */
export function createFields({ permission, expires, cidr }: KeyOptions) {
  return {
    permissions: [...(permission ?? [])],
    allowedCidrs: rangesOf(cidr ?? []),
    ...(expires instanceof Date && { expireTime: timestampFromDate(expires) }),
  };
}

export function createApiKeyFields(options: ApiKeyOptions) {
  const { rateLimit, metadata } = options;
  return {
    ...createFields(options),
    ...(typeof rateLimit === "object" && { rateLimit: limitOf(rateLimit) }),
    ...(typeof metadata === "object" && { metadata: { entries: metadata } }),
  };
}

/** What to change of a key: only what was given. */
export function updateFields({ permission, expires, cidr }: KeyOptions) {
  return {
    ...(permission && { permissions: { values: [...permission] } }),
    ...(cidr && { allowedCidrs: { values: rangesOf(cidr) } }),
    ...(expires && {
      expiry:
        expires === "never"
          ? ({ case: "neverExpires", value: true } as const)
          : ({ case: "expireTime", value: timestampFromDate(expires) } as const),
    }),
  };
}

export function updateApiKeyFields(options: ApiKeyOptions) {
  const { rateLimit, metadata } = options;
  return {
    ...updateFields(options),
    ...(metadata && { metadata: { entries: metadata === "none" ? {} : metadata } }),
    ...(rateLimit && {
      limit:
        rateLimit === "none"
          ? ({ case: "unlimited", value: true } as const)
          : ({ case: "rateLimit", value: limitOf(rateLimit) } as const),
    }),
  };
}

function limitOf({ requests, windowSeconds }: RateLimitOption): MessageInitShape<typeof RateLimitSchema> {
  return { requests, windowSeconds };
}
