// Fails where src/gen is not what buf makes of proto/ now.
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const folder = mkdtempSync(join(tmpdir(), "latchkey-gen-"));
try {
  execFileSync("buf", ["generate", "--output", folder], { stdio: "inherit" });
  execFileSync("diff", ["-r", "src/gen", join(folder, "src/gen")], { stdio: "inherit" });
} catch {
  process.stderr.write("src/gen is not up to date: run `npm run generate`\n");
  process.exitCode = 1;
} finally {
  rmSync(folder, { recursive: true });
}
