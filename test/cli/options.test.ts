import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, it, test } from "node:test";
import type { Command } from "commander";
import fc from "fast-check";
import { csvRecords } from "../../src/cli/csv-records.ts";
import { exampleOf } from "../../src/cli/example.ts";
import { Table } from "../../src/cli/output.ts";
import {
  parseDuration,
  parseExpiry,
  parseList,
  parseMetadata,
  parseMoment,
  parseRateLimit,
} from "../../src/cli/parse-option.ts";
import { buildProgram } from "../../src/cli/program.ts";

const DAY_MILLIS = 86_400_000;

describe("how values are written", () => {
  it("a while is a number and a unit, and nothing like it", () => {
    const seconds = { s: 1, m: 60, h: 3600, d: 86_400, w: 604_800 } as const;
    fc.assert(
      fc.property(fc.nat({ max: 999_999 }), fc.constantFrom("s", "m", "h", "d", "w"), (amount, unit) => {
        assert.equal(parseDuration(`${amount}${unit}`), amount * seconds[unit]);
      }),
    );
    assert.equal(parseDuration("0"), 0);
    for (const text of [
      "",
      "1",
      "h",
      "1.5h",
      "-1h",
      "1 h",
      "1H",
      "1M",
      "1y",
      "1ms",
      "1h30m",
      " 1h",
      "1h\n",
    ]) {
      assert.throws(() => parseDuration(text), text);
    }
  });

  it("a moment is a day that exists, or a time of RFC 3339", () => {
    fc.assert(
      fc.property(
        fc.date({ min: new Date("2000-01-01"), max: new Date("2999-01-01"), noInvalidDate: true }),
        (date) => {
          const text = date.toISOString();
          assert.equal(parseMoment(text).toISOString(), text);
          assert.equal(parseMoment(text.slice(0, 10)).toISOString(), `${text.slice(0, 10)}T00:00:00.000Z`);
        },
      ),
    );
    assert.equal(parseMoment("2027-01-31T10:00:00+02:00").toISOString(), "2027-01-31T08:00:00.000Z");
    for (const text of [
      ...[
        "",
        "2027",
        "2027-1-3",
        "2027-02-29",
        "2027-02-30T10:00:00Z",
        "2027-13-01",
        "31.01.2027",
        "tomorrow",
      ],
      ...["2027-01-31T10:00:00", "2027-01-31 10:00:00Z", "2027-01-31T25:00:00Z", "2027-01-31T10:00Z", "0"],
    ]) {
      assert.throws(() => parseMoment(text), text);
    }
  });

  it("an end is a moment, a while from now, or never", () => {
    assert.equal(parseExpiry("never"), "never");
    const end = parseExpiry("90d");
    assert.ok(end instanceof Date && Math.abs(end.getTime() - Date.now() - 90 * DAY_MILLIS) < 60_000);
    assert.deepEqual(parseExpiry("2027-01-31"), new Date("2027-01-31T00:00:00Z"));
    for (const text of ["", "Never", "0", "90", "soon"]) {
      assert.throws(() => parseExpiry(text), /90d, 2027-01-31, .* or never/, text);
    }
  });

  it("a rate limit is how many in how long", () => {
    assert.deepEqual(parseRateLimit("100/60s"), { requests: 100, windowSeconds: 60 });
    assert.deepEqual(parseRateLimit("5/1d"), { requests: 5, windowSeconds: 86_400 });
    assert.equal(parseRateLimit("none"), "none");
    for (const text of ["", "100", "100/", "/60s", "100/60", "1e3/60s", "-1/1s", "100/60s/1", "100 / 60s"]) {
      assert.throws(() => parseRateLimit(text), text);
    }
  });

  it("a list is given again or with commas, and its word for nothing stands alone", () => {
    const read = (...texts: string[]) =>
      texts.reduce<readonly string[] | undefined>(
        (before, text) => parseList("none")(text, before),
        undefined,
      );
    assert.deepEqual(read("a", "b,c", " d , e "), ["a", "b", "c", "d", "e"]);
    assert.deepEqual(read("none"), ["none"]);
    for (const texts of [["a,none"], ["none", "a"], ["a,"], [""], ["a,,b"]]) {
      assert.throws(() => read(...texts), texts.join(" "));
    }
    assert.deepEqual(parseList()("a,none"), ["a", "none"]);
  });

  it("metadata are names and values, whatever is in the values, each name once", () => {
    const read = (...texts: string[]) =>
      texts.reduce<Readonly<Record<string, string>> | "none" | undefined>(
        (before, text) => parseMetadata(text, before),
        undefined,
      );
    fc.assert(
      fc.property(
        fc.dictionary(
          fc.string({ minLength: 1 }).filter((name) => !name.includes("=")),
          fc.string(),
        ),
        (map) => {
          const texts = Object.entries(map).map(([name, value]) => `${name}=${value}`);
          assert.deepEqual(Object.entries(read(...texts) ?? {}), Object.entries(map));
        },
      ),
    );
    assert.equal(read("none"), "none");
    assert.deepEqual(read("toString=x"), { toString: "x" });
    for (const texts of [["a"], ["=b"], ["a=1", "a=2"], ["none", "a=1"], ["a=1", "none"], [""]]) {
      assert.throws(() => read(...texts), texts.join(" "));
    }
  });
});

describe("CSV (RFC 4180)", () => {
  async function* linesOf(text: string) {
    const lines = text.replace(/\r?\n$/, "").split(/\r?\n/);
    for (const [index, line] of lines.entries()) {
      yield { number: index + 1, text: line };
    }
  }
  const read = async (text: string) =>
    (await Array.fromAsync(csvRecords(linesOf(text)))).map(({ fields }) => fields);

  it("is read as it was written, whatever is in its fields", async () => {
    const cell = fc.string({ unit: fc.constantFrom("a", '"', ",", "\n", " ", "ö", "'") });
    const quote = (text: string) => `"${text.replaceAll('"', '""')}"`;
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.array(cell, { minLength: 2, maxLength: 4 }), { minLength: 1, maxLength: 5 }),
        fc.constantFrom("\n", "\r\n"),
        fc.boolean(),
        async (table, end, quotesAll) => {
          const shown = (text: string) => (quotesAll || /[",\n]/.test(text) ? quote(text) : text);
          const csv = table.map((row) => row.map(shown).join(",")).join(end);
          assert.deepEqual(await read(csv), table);
        },
      ),
    );
  });

  it("tells on which line each row begins, and where the quotation marks do not match", async () => {
    const records = await Array.fromAsync(csvRecords(linesOf('a,b\n\n"1\n2",3\n4,5\n')));
    assert.deepEqual(
      records.map(({ line }) => line),
      [1, 3, 5],
    );
    for (const [text, message] of [
      ['a,b\n1,2"3"', /^line 2: a quotation mark stands inside a field/],
      ['a,b\n"1" ,2', /^line 2: a quotation mark stands inside a field/],
      ['a,b\n"1,2\n3,4\n', /^line 2: a quotation mark is never closed/],
    ] as const) {
      await assert.rejects(read(text), { message });
    }
  });
});

test("what comes from elsewhere cannot move the cursor or forge a line", () => {
  const shown = new Table(["NAME", "X"]).add([["evil\u001b[2J\u202e\nid  other", "y"]]);
  assert.equal(shown.split("\n").length, 3);
  assert.doesNotMatch(shown.replaceAll("\n", ""), /\p{C}/u);
});

describe("a command that is written down", () => {
  const leaves = (command: Command): Command[] =>
    command.commands.length === 0 ? [command] : command.commands.flatMap(leaves);

  /** Runs it up to where it would do something. @returns which command that is. */
  async function parse(line: string): Promise<string | undefined> {
    const program = await buildProgram();
    let ran: string | undefined;
    for (const command of leaves(program)) {
      command.action(() => {
        ran = `${command.parent === program ? "" : `${command.parent?.name()} `}${command.name()}`;
      });
    }
    // The shell's own part of it is left out.
    const words = [...line.replace(/ < .*$/, "").matchAll(/'([^']*)'|(\S+)/g)];
    const [name, ...args] = words.map(([, quoted, bare]) => quoted ?? bare ?? "");
    assert.equal(name, "latchkey");
    await program.parseAsync(args, { from: "user" });
    return ran;
  }

  it("as the example of a command's help is one that it takes; each that talks to a service has one", async () => {
    const server = ["dev", "serve", "migrate", "bootstrap", "rekey"];
    const commands = leaves(await buildProgram()).filter((command) => !server.includes(command.name()));
    assert.ok(commands.length > 30);
    for (const command of commands) {
      const example = exampleOf(command) ?? assert.fail(`${command.name()} has none`);
      assert.ok((await parse(example))?.endsWith(command.name()), example);
    }
  });

  it("in the walkthrough is one that there is, and together they are the life of a key", async () => {
    const lines = [...readFileSync("docs/walkthrough.md", "utf8").matchAll(/^\$ (latchkey .*)$/gm)];
    const commands = await Promise.all(lines.map(([, line = ""]) => parse(line)));
    assert.deepEqual(
      [...new Set(commands)],
      [
        "key create",
        "key rotate",
        "key get",
        "key finish-rotation",
        "explain",
        "key usage",
        "key revoke",
        "key revoke-own",
      ],
    );
  });
});
