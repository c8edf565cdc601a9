// What a user of connect-grpc-health may write, in plain JavaScript: a server, and a client that calls it.
import assert from "node:assert/strict";
import { createServer } from "node:http2";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { connectNodeAdapter, createGrpcTransport } from "@connectrpc/connect-node";
import { HealthStatus, healthRoutes } from "connect-grpc-health";
import { Health, HealthCheckResponse_ServingStatus as Status } from "connect-grpc-health/v1";

const health = new HealthStatus();
health.set("acme.Pets", "SERVING");

const server = createServer(connectNodeAdapter({ routes: healthRoutes(health, { maxWatches: 1 }) }));
await new Promise((resolve) => server.listen(0, () => resolve(undefined)));
const address = server.address();
assert(address !== null && typeof address === "object");
const client = createClient(Health, createGrpcTransport({ baseUrl: `http://localhost:${address.port}` }));

assert.equal((await client.check({ service: "acme.Pets" })).status, Status.SERVING);
assert.equal((await client.check({})).status, Status.NOT_SERVING);
await assert.rejects(
  client.check({ service: "acme.Unheard" }),
  (error) => ConnectError.from(error).code === Code.NotFound,
);

const { statuses } = await client.list({});
assert.deepEqual(Object.keys(statuses).sort(), ["", "acme.Pets"]);

const told = [];
for await (const { status } of client.watch({ service: "acme.Toys" })) {
  told.push(status);
  if (status === Status.SERVICE_UNKNOWN) {
    health.set("acme.Toys", "SERVING");
  } else {
    health.endWatches();
  }
}
assert.deepEqual(told, [Status.SERVICE_UNKNOWN, Status.SERVING, Status.NOT_SERVING]);

process.exit();
