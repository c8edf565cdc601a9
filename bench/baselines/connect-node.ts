import { createServer as createHttp1 } from "node:http";
import { createServer as createHttp2 } from "node:http2";
import { Code, ConnectError, type ConnectRouter } from "@connectrpc/connect";
import { connectNodeAdapter } from "@connectrpc/connect-node";
import { AuthenticationService } from "../../src/gen/latchkey/v1/authentication_pb.ts";
import { announce, answersPath } from "./announce.ts";
import { loadLookup } from "./lookup.ts";

const lookup = loadLookup(answersPath());
const routes = (router: ConnectRouter) =>
  router.service(AuthenticationService, {
    authenticate(request) {
      const found = lookup(request);
      if (found === undefined) {
        throw new ConnectError("", Code.Unauthenticated);
      }
      return found;
    },
  });
const handler = connectNodeAdapter({ routes });

await announce({ grpc: createHttp2(handler), http: createHttp1(handler) });
