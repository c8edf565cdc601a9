import assert from "node:assert/strict";
import { existsSync, globSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { PAGES } from "../scripts/docs-pages.ts";
import { REASONS } from "../src/errors.ts";
import { ReasonSchema } from "../src/gen/latchkey/v1/reason_pb.ts";

for (const [name, make] of Object.entries(PAGES)) {
  test(`docs/${name} is what the source says now (npm run generate)`, () => {
    assert.equal(readFileSync(join("docs", name), "utf8"), make());
  });
}

test("the contract publishes exactly the reasons that there are", () => {
  const published = ReasonSchema.values.map(({ name }) => name.replace("REASON_", ""));
  assert.deepEqual(published.sort(), ["UNSPECIFIED", ...Object.keys(REASONS)].sort());
});

test("every link between the project's pages leads somewhere", () => {
  const pages = globSync(["*.md", "docs/**/*.md", "src/**/*.md", "examples/**/*.md"]);
  const dead = pages.flatMap((page) =>
    [...readFileSync(page, "utf8").matchAll(/\]\((?!https?:|mailto:|#)([^)#]+)(#[^)]*)?\)/g)]
      .map(([, target = ""]) => join(dirname(page), target))
      .filter((target) => !existsSync(target))
      .map((target) => `${page} → ${target}`),
  );
  assert.deepEqual(dead, []);
});
