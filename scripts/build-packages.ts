// Builds what is published by itself, each package into a folder that is ready for `npm publish`.
import { execFileSync } from "node:child_process";
import { copyFileSync, globSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";

const [out = "dist/packages"] = process.argv.slice(2);

rmSync(out, { recursive: true, force: true });
execFileSync("tsc", ["-p", "tsconfig.packages.json", "--outDir", out], { stdio: "inherit" });

for (const folder of globSync("src/*/package.json").map((path) => dirname(path))) {
  for (const file of [join(folder, "package.json"), join(folder, "README.md"), "LICENSE"]) {
    copyFileSync(file, join(out, basename(folder), basename(file)));
  }
}

// The compiler rewrites what JavaScript imports and leaves it in declarations, where older compilers refuse it.
for (const path of globSync(join(out, "**/*.d.ts"))) {
  writeFileSync(path, readFileSync(path, "utf8").replaceAll(/ from "(\..*)\.ts"/g, ' from "$1.js"'));
}
