import type { Hearing } from "../changes/change-feed.ts";
import type { Catalogue } from "../permissions/permission-pattern.ts";
import type { Storage } from "../storage/open-storage.ts";
import { liveImportedKeys } from "./live-imported-keys.ts";
import { liveKeys } from "./live-keys.ts";
import type { AskNow, CatalogueOf, KeyFormatState, LiveState, MomentRow } from "./live-state.ts";
import { liveTokens } from "./live-tokens.ts";
import { Remembered } from "./remembered.ts";

/**
 * @param hearing of the changes of what changes seldom and is remembered: the catalogue and the formats of foreign
 * keys. Undefined: they are asked for each time.
 */
export function createLiveState(storage: Storage, hearing?: Hearing): LiveState {
  const catalogues = new Remembered<Catalogue>("catalogue", hearing);
  const formats = new Remembered<readonly KeyFormatState[]>("key_formats", hearing);

  const ask: AskNow = async <Row extends MomentRow>(
    name: string,
    sql: string,
    values: readonly unknown[],
  ) => {
    const known = catalogues.recall();
    const asked = catalogues.ask();
    const row = await storage.verify<Row>(name, sql, [...values, known === undefined]);
    const catalogueOf: CatalogueOf = ({ organization_catalogue, platform_catalogue }) =>
      known ??
      catalogues.keep(
        { organization: organization_catalogue ?? [], platform: platform_catalogue ?? [] },
        asked,
      );
    return { row, catalogueOf };
  };

  return { ...liveKeys(ask), ...liveTokens(ask), ...liveImportedKeys(storage, ask, formats) };
}
