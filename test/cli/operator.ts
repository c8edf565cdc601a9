import assert from "node:assert/strict";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { cleanup, latchkey, ROOT, type Running, refusal, run } from "../support/process.ts";
import type { TestService } from "../support/service.ts";

/** A person at a shell, with an environment in which the commands find their service. */
export interface Operator {
  /** Starts a command. */
  start(args: readonly string[], options?: StartOptions): Running;
  /** A command that must be done. @returns what it printed. */
  does(args: readonly string[], options?: StartOptions): Promise<string>;
  /** The same with `--json`. @returns its one document. */
  // biome-ignore lint/suspicious/noExplicitAny: the shape is what the test is about.
  asks(args: readonly string[], options?: StartOptions): Promise<any>;
  /** The same for a list. @returns the document on each line. */
  // biome-ignore lint/suspicious/noExplicitAny: the shape is what the test is about.
  lists(args: readonly string[], options?: StartOptions): Promise<any[]>;
  /** A command that must fail, with nothing on standard output. @returns its one line. */
  fails(args: readonly string[], options?: StartOptions): Promise<string>;
  /** A command that is typed wrong. @returns its one line. */
  mistypes(args: readonly string[]): Promise<string>;
}

export interface StartOptions {
  readonly env?: Readonly<Record<string, string>>;
  /** What comes on standard input. */
  readonly input?: string;
  /**
   * How many lines of its standard output are read, before it is closed. The exit code is then the last line:
   * `code 0`.
   */
  readonly readsLines?: number;
}

/** Somebody who acts on a test's service with this credential; by default its internal key. */
export function operatorOf(t: TestContext, service: TestService, credential = service.internalKey): Operator {
  return operatorWith(t, {
    LATCHKEY_URL: service.url,
    LATCHKEY_CREDENTIAL: credential,
    LATCHKEY_ORGANIZATION: service.organizationId,
  });
}

export function operatorWith(t: TestContext, own: Readonly<Record<string, string>>): Operator {
  const start: Operator["start"] = (args, { env = {}, input, readsLines } = {}) => {
    const all = { ...own, ...env };
    if (input === undefined && readsLines === undefined) {
      return latchkey(cleanup(t), args, { env: all });
    }
    const command = `${input === undefined ? "" : `printf %s "$INPUT" | `}"$0" "$@"`;
    const script =
      readsLines === undefined
        ? command
        : `exec 3>&1; { ${command}; echo "code $?" >&3; } | ${readsLines === 0 ? ":" : `head -n ${readsLines}`}`;
    const program = [process.execPath, join(ROOT, "bin/latchkey.js")];
    return run(cleanup(t), ["sh", "-c", script, ...program, ...args], {
      env: { ...all, ...(input !== undefined && { INPUT: input }) },
    });
  };
  const does: Operator["does"] = async (args, options) => {
    const command = start(args, options);
    assert.deepEqual(
      await command.ended(),
      { code: 0, signal: null },
      `${args.join(" ")}: ${command.stderr}`,
    );
    return command.stdout;
  };
  return {
    start,
    does,
    asks: async (args, options) => JSON.parse(await does([...args, "--json"], options)),
    lists: async (args, options) =>
      linesOf(await does([...args, "--json"], options)).map((line) => JSON.parse(line)),
    async fails(args, options) {
      const command = start(args, options);
      const line = await refusal(command);
      assert.equal(command.stdout, "");
      return line;
    },
    async mistypes(args) {
      const command = start(args);
      assert.deepEqual(await command.ended(), { code: 2, signal: null }, command.stdout + command.stderr);
      assert.equal(command.stdout, "");
      const [line = "", ...others] = linesOf(command.stderr);
      assert.deepEqual(others, []);
      assert.match(line, /^latchkey: .*; see latchkey .*--help$/);
      return line.slice("latchkey: ".length);
    },
  };
}

export function linesOf(text: string): string[] {
  return text.split("\n").filter((line) => line !== "");
}

/** The value beside a name, as people are shown it. */
export function field(shown: string, name: string): string | undefined {
  return linesOf(shown)
    .find((line) => line.startsWith(`${name} `))
    ?.slice(name.length)
    .trim();
}
