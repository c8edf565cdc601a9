// A process that attacks a port until it is killed: `node stranger.ts <port> <attack> [<how many blows are enough>]`.
import { FLOODS } from "./floods.ts";
import { HOLDS, IDLENESS } from "./holds.ts";
import type { Attack } from "./strike.ts";

const attacks: Readonly<Record<string, Attack>> = { ...FLOODS, ...HOLDS, ...IDLENESS };
const [port, name = "", many] = process.argv.slice(2);
const attack = attacks[name];
if (attack === undefined) {
  throw new Error(`there is no attack ${name}`);
}
const enough = many === undefined ? attack.enough : Number(many);
let blows = 0;
await attack.strike(Number(port), enough, (more) => {
  const isNews = blows < enough && blows + more >= enough;
  blows += more;
  if (isNews) {
    process.stdout.write("under way\n");
  }
});
