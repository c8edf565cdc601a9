#!/usr/bin/env node
// Plain JavaScript that any Node can read: finds a Node that can run the rest, or says what to do.
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";

const NEEDED = 24;
const own = Number(process.versions.node.split(".")[0]);
const installed = fileURLToPath(new URL("../node_modules/.bin/node", import.meta.url));

if (own >= NEEDED) {
  const built = new URL("../dist/cli/main.js", import.meta.url);
  const source = new URL("../src/cli/main.ts", import.meta.url);
  const { main } = await import(existsSync(source) ? source.href : built.href);
  await main(process.argv);
} else if (existsSync(installed)) {
  // npm puts that Node first on the path of its scripts; here the file was run directly.
  // The channel tells the child that this process has ended, however that came about.
  const child = spawn(installed, process.argv.slice(1), { stdio: ["inherit", "inherit", "inherit", "ipc"] });
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) {
    process.on(signal, () => child.kill(signal));
  }
  child.on("exit", (code) => {
    process.exit(code ?? 1);
  });
} else {
  process.stderr.write(
    `latchkey: needs Node ${NEEDED} or later and runs on ${process.version}. Run \`npm ci\` in its folder and start it with \`npm start\`, or install Node ${NEEDED}.\n`,
  );
  process.exitCode = 1;
}
