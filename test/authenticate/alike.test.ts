import assert from "node:assert/strict";
import { test } from "node:test";
import { alikeList } from "../../src/authenticate/alike.ts";

test("an equal list is the one that was here before", () => {
  const list = alikeList(["calls.read", "calls.write"]);
  assert.equal(alikeList(["calls.read", "calls.write"]), list);
  assert.deepEqual(alikeList(["calls.read,calls.write"]), ["calls.read,calls.write"]);
});

test("few long lists are forgotten as many short ones are: whoever makes keys fills no memory", () => {
  const list = alikeList(["first"]);
  for (let i = 0; i < 50; i++) {
    alikeList([`${i}`, "x".repeat(50_000)]);
  }
  assert.notEqual(alikeList(["first"]), list);
});
