import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { copyFileSync, globSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { promisify } from "node:util";
import { cleanup, freePort, ROOT, run, temporaryFolder } from "../support/process.ts";
import { until } from "../support/until.ts";

const execute = promisify(execFile);
const inRoot = (path: string) => join(ROOT, path);
const bin = (name: string) => inRoot(`node_modules/.bin/${name}`);

/** As strict as the compiler gets, on declarations too. */
const strictest = {
  module: "nodenext",
  target: "esnext",
  types: ["node"],
  checkJs: true,
  skipLibCheck: false,
  strict: true,
  allowUnreachableCode: false,
  allowUnusedLabels: false,
  exactOptionalPropertyTypes: true,
  isolatedModules: true,
  noFallthroughCasesInSwitch: true,
  noImplicitOverride: true,
  noImplicitReturns: true,
  noPropertyAccessFromIndexSignature: true,
  noUncheckedIndexedAccess: true,
  noUncheckedSideEffectImports: true,
  noUnusedLocals: true,
  noUnusedParameters: true,
  verbatimModuleSyntax: true,
  noEmit: true,
};

const stack = new AsyncDisposableStack();
after(() => stack.disposeAsync());
const built = join(temporaryFolder(stack), "packages");
before(() => execute(process.execPath, [inRoot("scripts/build-packages.ts"), built], { cwd: ROOT }));

/** The files that the README's examples make together: each begins with a comment that names its file. */
function examplesOf(readme: string): Map<string, string> {
  const files = new Map<string, string>();
  for (const [, name = "", text = ""] of readme.matchAll(/```ts\n\/\/ (\S+\.ts)[^\n]*\n(.*?)```/gs)) {
    files.set(name, (files.get(name) ?? "") + text);
  }
  return files;
}

/** An empty project that has installed the package and, of this repository, what the README says. */
async function createProject(folder: string, port: number) {
  const project = temporaryFolder(stack);
  const { name } = JSON.parse(readFileSync(join(built, folder, "package.json"), "utf8"));
  const installed = join(project, "node_modules", name);
  for (const path of [installed, join(project, "gen")]) {
    mkdirSync(path, { recursive: true });
  }
  for (const scope of ["@bufbuild", "@connectrpc", "@types"]) {
    mkdirSync(join(project, "node_modules", scope));
  }
  for (const needed of [
    "@bufbuild/protobuf",
    "@connectrpc/connect",
    "@connectrpc/connect-node",
    "@types/node",
  ]) {
    symlinkSync(inRoot(`node_modules/${needed}`), join(project, "node_modules", needed));
  }

  const pack = ["pack", "--offline", "--silent", "--cache", join(project, "cache"), join(built, folder)];
  await execute("npm", pack, { cwd: project });
  const [tarball = ""] = globSync("*.tgz", { cwd: project });
  await execute("tar", ["-xzf", tarball, "--strip-components=1", "-C", installed], { cwd: project });

  for (const [file, text] of examplesOf(readFileSync(join(installed, "README.md"), "utf8"))) {
    writeFileSync(join(project, file), text.replaceAll("8080", String(port)).replace("10_000", "10"));
  }
  copyFileSync(
    inRoot(`test/packages/${folder.replace("grpc-", "")}-program.js`),
    join(project, "program.js"),
  );
  writeFileSync(join(project, "package.json"), JSON.stringify({ type: "module" }));
  writeFileSync(
    join(project, "tsconfig.json"),
    JSON.stringify({ compilerOptions: strictest, include: ["*.ts", "*.js"] }),
  );
  // The service of the reflection package's example.
  const template = {
    version: "v2",
    plugins: [{ local: bin("protoc-gen-es"), out: ".", opt: ["target=js+dts", "import_extension=js"] }],
  };
  const generate = ["generate", "--template", JSON.stringify(template), "--output", join(project, "gen")];
  await execute(bin("buf"), [...generate, "--config", '{"version":"v2"}'], {
    cwd: inRoot("test/grpc-reflection/fixtures"),
  });

  const files = (await execute("tar", ["-tzf", tarball], { cwd: project })).stdout.trim().split("\n");
  return { project, installed, files: files.map((file) => file.replace("package/", "")).sort() };
}

function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, "localhost", () => resolve(true)).once("error", () => resolve(false));
    socket.once("connect", () => socket.destroy());
  });
}

/** What each has besides its package.json, README.md and LICENSE, without the ending. */
const MODULES = {
  "grpc-health": ["gen/grpc/health/v1/health_pb", "health-routes", "health-status", "index"],
  "grpc-reflection": [
    "declarations",
    "descriptor-index",
    "gen/grpc/reflection/v1/reflection_pb",
    "gen/grpc/reflection/v1alpha/reflection_pb",
    "index",
    "reflection-routes",
    "until-aborted",
  ],
};

for (const [folder, modules] of Object.entries(MODULES)) {
  describe(`the package of ${folder}`, () => {
    let port: number;
    let made: Awaited<ReturnType<typeof createProject>>;
    before(async () => {
      port = await freePort();
      made = await createProject(folder, port);
    });

    test("holds what it needs and nothing else", () => {
      const expected = modules.flatMap((module) => [`${module}.js`, `${module}.d.ts`]);
      assert.deepEqual(made.files, [...expected, "LICENSE", "README.md", "package.json"].sort());
    });

    test("says nothing of where it comes from", () => {
      const texts = made.files.map((file) => [file, readFileSync(join(made.installed, file), "utf8")]);
      assert.deepEqual(
        texts.filter(([, text = ""]) => /latchkey/i.test(text)),
        [],
      );
    });

    test("is strictly typed, as are the examples of its README", async () => {
      const compiler = run(stack, [bin("tsc"), "-p", made.project]);
      assert.deepEqual(await compiler.ended(), { code: 0, signal: null }, compiler.stdout);
    });

    test("serves a program in plain JavaScript", async (t) => {
      const program = run(cleanup(t), [process.execPath, join(made.project, "program.js")]);
      assert.deepEqual(await program.ended(), { code: 0, signal: null }, program.stderr);
    });

    test("does what its README says", async (t) => {
      const start = (file: string) => run(cleanup(t), [process.execPath, join(made.project, file)]);
      const server = start("server.ts");
      await until("the example listens", async () => !server.isAlive || (await answers(port)));
      assert.ok(server.isAlive, server.stderr);

      if (folder === "grpc-health") {
        const client = start("client.ts");
        await client.said(/^Pets is well\nsend traffic\n$/);
        server.kill("SIGTERM");
        await client.said(/\nsend no traffic\n$/);
        assert.deepEqual(await client.ended(), { code: 0, signal: null }, client.stderr);
        assert.deepEqual(await server.ended(), { code: 0, signal: null }, server.stderr);
        return;
      }
      const url = `http://localhost:${port}`;
      const curl = async (...parameters: string[]) =>
        (await execute(bin("buf"), ["curl", "--http2-prior-knowledge", ...parameters])).stdout;
      assert.match(await curl("--list-methods", url), /^acme\.Pets\/Adopt$/m);
      assert.deepEqual(JSON.parse(await curl("--data", '{"name": "Rex"}', `${url}/acme.Pets/Adopt`)), {
        name: "Rex",
      });
    });
  });
}
