import type { LiveState } from "../authenticate/live-state.ts";
import { accessTokenScheme } from "./access-token/access-token-scheme.ts";
import type { TokenVerifier } from "./access-token/verify-token.ts";
import { apiKeyScheme } from "./api-key/api-key-scheme.ts";
import { importedKeyScheme } from "./imported-key/imported-key-scheme.ts";
import type { ImportedKeys } from "./imported-key/imported-keys.ts";
import type { KeyHasher } from "./key-digest.ts";
import type { Scheme } from "./scheme.ts";
import { serviceKeyScheme } from "./service-key/service-key-scheme.ts";

export interface SchemeParts {
  readonly liveState: LiveState;
  readonly keyHasher: KeyHasher;
  readonly tokenVerifier: TokenVerifier;
  readonly apiKeyPrefixes: ReadonlySet<string>;
  readonly importedKeys: Pick<ImportedKeys, "find" | "mayHave">;
  /** Expected of a token where the request asks for no audience. */
  readonly defaultAudience: string;
}

/** Every kind of credential that Latchkey knows. A new kind is one folder and one line here. */
export function createSchemes(parts: SchemeParts): readonly Scheme[] {
  return [apiKeyScheme(parts), importedKeyScheme(parts), serviceKeyScheme(parts), accessTokenScheme(parts)];
}
