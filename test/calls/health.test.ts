import assert from "node:assert/strict";
import { test } from "node:test";
import { createClient } from "@connectrpc/connect";
import {
  Health,
  HealthCheckResponse_ServingStatus,
} from "../../src/grpc-health/gen/grpc/health/v1/health_pb.ts";
import { AuthenticationService, startService, transportTo } from "../support/service.ts";
import { until } from "../support/until.ts";

const { SERVING, NOT_SERVING } = HealthCheckResponse_ServingStatus;

test("gRPC's health says that nothing is served while the database is away, and that it is when it is back", async () => {
  let isAway = false;
  const service = await startService({
    wrapCore: (core) => ({
      ...core,
      storage: {
        ...core.storage,
        ping: async () => await (isAway ? Promise.reject(new Error("away")) : core.storage.ping()),
      },
    }),
  });
  try {
    const health = createClient(Health, transportTo(service.url, "grpc", "2"));
    const names = ["", AuthenticationService.typeName];
    const allSay = async (status: HealthCheckResponse_ServingStatus) =>
      (await Promise.all(names.map((name) => health.check({ service: name })))).every(
        (answer) => answer.status === status,
      );
    assert.ok(await allSay(SERVING));
    isAway = true;
    await until("nothing is served", () => allSay(NOT_SERVING));
    isAway = false;
    await until("everything is served", () => allSay(SERVING));
  } finally {
    await service.stop();
  }
});
