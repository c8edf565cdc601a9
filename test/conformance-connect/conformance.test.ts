// Connect's own conformance suite, run by its runner against the same port and adapter that Latchkey serves
// with. What is wrong with a single message is in test/wire-faults.
import assert from "node:assert/strict";
import { type ExecFileException, execFile } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { homedir, tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { test } from "node:test";
import { promisify } from "node:util";

const MODULE = "connectrpc.com/conformance";
const run = promisify(execFile);

/** A run takes a quarter of a minute. One that hangs has found something too. */
const LONGEST_MS = 180_000;

const folders = [...(process.env["PATH"] ?? "").split(delimiter), join(homedir(), "go", "bin")];
const find = (command: string) => folders.map((folder) => join(folder, command)).find(existsSync);
const runner = find("connectconformance");
const go = find("go");
const skip =
  (runner === undefined || go === undefined) &&
  `connectconformance or Go is not installed: go install ${MODULE}/cmd/connectconformance@latest`;

test("Connect's conformance suite passes", { skip, timeout: LONGEST_MS }, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "latchkey-conformance-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const descriptors = join(folder, "contract.binpb");
  await run("buf", ["build", join(await sourceOf(String(runner)), "proto"), "--output", descriptors]);

  const here = import.meta.dirname;
  const output = await run(
    String(runner),
    [
      "--mode=server",
      `--conf=${join(here, "config.yaml")}`,
      `--known-failing=@${join(here, "known-failing.txt")}`,
      "--max-servers=2",
      "--",
      process.execPath,
      join(here, "server.ts"),
      descriptors,
    ],
    { signal: t.signal },
  ).then(
    ({ stdout, stderr }) => stdout + stderr,
    (failed: ExecFileException) => assert.fail(`${failed.stdout}\n${failed.stderr}`),
  );
  const [, passed = "0"] = /(\d+) passed, 0 failed/.exec(output) ?? [];
  t.diagnostic(output.trim());
  assert.ok(Number(passed) > 500, output);
});

/** The runner's contract lies in Go's module cache, where the runner was built from. */
async function sourceOf(command: string): Promise<string> {
  const { stdout: version } = await run(command, ["--version"]);
  const [found] = /v\d+\.\d+\.\d+\S*/.exec(version) ?? [];
  const { stdout } = await run(String(go), ["mod", "download", "-json", `${MODULE}@${found}`], {
    cwd: tmpdir(),
  });
  return (JSON.parse(stdout) as { Dir: string }).Dir;
}
