// Writes the pages of docs/ that are made from the source.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { PAGES } from "./docs-pages.ts";

for (const [name, make] of Object.entries(PAGES)) {
  writeFileSync(join("docs", name), make());
}
