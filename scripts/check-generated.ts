// Fails where a folder of generated code is not what buf makes of proto/ now.
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const folder = mkdtempSync(join(tmpdir(), "latchkey-gen-"));
try {
  execFileSync("buf", ["generate", "--output", folder], { stdio: "inherit" });
  for (const generated of ["src/gen", "src/grpc-health/gen", "src/grpc-reflection/gen"]) {
    execFileSync("diff", ["-r", generated, join(folder, generated)], { stdio: "inherit" });
  }
} catch {
  process.stderr.write("generated code is not up to date: run `npm run generate`\n");
  process.exitCode = 1;
} finally {
  rmSync(folder, { recursive: true });
}
