import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import { basename, dirname, join, normalize } from "node:path";
import { test } from "node:test";

/** Where files stand, the highest first: a file imports from its own height and below. */
const HEIGHTS: readonly (readonly RegExp[])[] = [
  [/^cli\//],
  [/^app\.ts$/, /^entities\.ts$/, /^sealed-columns\.ts$/],
  [/^server\//],
  [/^(authenticate|audit|changes|credentials|organizations|permissions|rate-limit|usage|users)\//],
  [/^(storage\/|errors\.ts$|error-facts\.ts$|uuid\.ts$|gen\/|config\.ts$|grpc-health\/|grpc-reflection\/)/],
];

interface SourceFile {
  readonly path: string;
  readonly packages: readonly string[];
  /** Other files of src/, by their paths. */
  readonly files: readonly string[];
  readonly text: string;
}

const isGenerated = (path: string): boolean => /(^|\/)gen\//.test(path);

const sources: SourceFile[] = globSync("src/**/*.ts")
  .map((path) => path.replace(/^src\//, ""))
  .filter((path) => !isGenerated(path))
  .map((path) => {
    const text = readFileSync(join("src", path), "utf8");
    const imports = [...text.matchAll(/(?:^import| from) "([^"]+)"/gm)].map(([, name = ""]) => name);
    return {
      path,
      text,
      packages: imports.filter((name) => !name.startsWith(".")),
      files: imports
        .filter((name) => name.startsWith("."))
        .map((name) => normalize(join(dirname(path), name))),
    };
  });

const heightOf = (path: string): number =>
  HEIGHTS.findIndex((places) => places.some((place) => place.test(path)));

function none(broken: readonly string[]): void {
  assert.deepEqual(broken, []);
}

test("every source file stands at a height", () => {
  none(sources.filter(({ path }) => heightOf(path) === -1).map(({ path }) => path));
});

test("imports go down: cli, app, server, features, storage and errors", () => {
  none(
    sources.flatMap(({ path, files }) =>
      files.filter((file) => heightOf(file) < heightOf(path)).map((file) => `${path} → ${file}`),
    ),
  );
});

test("only services, doors and the command line see generated code or Connect", () => {
  const mayKnow = /(-service\.ts$|^server\/|^cli\/|^grpc-health\/|^grpc-reflection\/)/;
  none(
    sources
      .filter(({ path }) => !mayKnow.test(path))
      .flatMap(({ path, files, packages }) =>
        [
          ...files.filter(isGenerated),
          ...packages.filter((name) => /^@(connectrpc|bufbuild)\//.test(name)),
        ].map((name) => `${path} → ${name}`),
      ),
  );
});

test("what is published by itself imports its own files and its peer dependencies, nothing else", () => {
  const published = globSync("src/*/package.json").map((manifest) => ({
    folder: `${basename(dirname(manifest))}/`,
    peers: Object.keys(JSON.parse(readFileSync(manifest, "utf8")).peerDependencies),
  }));
  assert.deepEqual(published.map(({ folder }) => folder).sort(), ["grpc-health/", "grpc-reflection/"]);
  none(
    published.flatMap(({ folder, peers }) =>
      sources
        .filter(({ path }) => path.startsWith(folder))
        .flatMap(({ path, files, packages }) =>
          [
            ...files.filter((file) => !file.startsWith(folder)),
            ...packages.filter((name) => !peers.includes(name.split("/", 2).join("/"))),
          ].map((name) => `${path} → ${name}`),
        ),
    ),
  );
});

test("only the command line reads settings and the environment", () => {
  none(
    sources
      .filter(({ path }) => !path.startsWith("cli/") && path !== "config.ts")
      .filter(({ path, files, text }) => {
        // npm's launcher and the embedded database pass their own environment on to what they start.
        const passesOn = path.startsWith("storage/embedded-postgres");
        return files.includes("config.ts") || (!passesOn && text.includes("process.env"));
      })
      .map(({ path }) => path),
  );
});

test("only services are handed messages: nobody but the doors imports them", () => {
  none(
    sources.flatMap(({ path, files }) =>
      files
        .filter((file) => file.endsWith("-service.ts"))
        .filter(() => !path.startsWith("server/") && !path.endsWith("-service.ts"))
        .map((file) => `${path} → ${file}`),
    ),
  );
});

test("no file imports itself by a detour", () => {
  const imports = new Map(sources.map(({ path, files }) => [path, files]));
  const done = new Set<string>();
  const cycles: string[] = [];
  const visit = (path: string, trail: readonly string[]): void => {
    if (trail.includes(path)) {
      cycles.push([...trail.slice(trail.indexOf(path)), path].join(" → "));
    } else if (!done.has(path)) {
      for (const file of imports.get(path) ?? []) {
        visit(file, [...trail, path]);
      }
      done.add(path);
    }
  };
  for (const { path } of sources) {
    visit(path, []);
  }
  none(cycles);
});
