import { after, before, describe, test } from "node:test";
import { defaultOnePortLimits } from "../../src/server/port-limits.ts";
import { type Besieged, besiege } from "./besieged.ts";
import { HOLDS } from "./holds.ts";

/** Ordinary calls take the places of a few. */
const MOST_UNDECIDED = defaultOnePortLimits.maxUndecided - 50;
/** Little, so that what is held without a bound ends the process. */
const HEAP_MIB = 80;

describe(`the service withstands, with ${HEAP_MIB} MiB of heap,`, () => {
  const stack = new AsyncDisposableStack();
  let service: Besieged;
  before(async () => {
    service = await besiege(stack, { heapMib: HEAP_MIB });
  });
  after(() => stack.disposeAsync());

  for (const [attack, { enough }] of Object.entries(HOLDS)) {
    test(attack, (t) => service.withstandsStranger(t, attack, Math.min(enough, MOST_UNDECIDED)));
  }
});
