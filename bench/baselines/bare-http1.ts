import { announce, answersPath } from "./announce.ts";
import { serveConnect } from "./connect-over-http1.ts";
import { loadLookup } from "./lookup.ts";

await announce({ http: serveConnect(loadLookup(answersPath())) });
