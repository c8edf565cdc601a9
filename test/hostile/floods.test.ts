import { after, before, describe, test } from "node:test";
import { type Besieged, besiege } from "./besieged.ts";
import { FLOODS } from "./floods.ts";

describe("the service withstands a flood of", () => {
  const stack = new AsyncDisposableStack();
  let service: Besieged;
  before(async () => {
    service = await besiege(stack);
  });
  after(() => stack.disposeAsync());

  for (const attack of Object.keys(FLOODS)) {
    test(attack, (t) => service.withstandsStranger(t, attack));
  }
});
