import { Code, ConnectError, type ConnectRouter } from "@connectrpc/connect";
import { Health, HealthCheckResponse_ServingStatus as Status } from "./gen/grpc/health/v1/health_pb.ts";
import type { HealthStatus } from "./health-status.ts";

/** The most services that `List` answers with: the comments of health.proto draw the line. */
const maxListedServices = 100;

/** The longest name of a service not known to the server that can be watched: each open watch holds its own. */
const maxUnknownNameLength = 1024;

export interface HealthRoutesOptions {
  /** The most watches that can be open at once, over all clients. The default is 1000. */
  maxWatches?: number;
}

/**
 * Serves `grpc.health.v1.Health` from a {@link HealthStatus}, over every protocol of the router.
 *
 * - `Check` answers NOT_FOUND for a service that was never set.
 * - `List` answers RESOURCE_EXHAUSTED where there are more than 100 services.
 * - `Watch` sends the status now, then each change. SERVICE_UNKNOWN is a status like any other: the stream
 *   stays open. It answers RESOURCE_EXHAUSTED where `maxWatches` are open, INVALID_ARGUMENT for an unknown
 *   name of more than 1024 characters, and UNAVAILABLE once {@link HealthStatus.endWatches} was called.
 *
 * Source: "GRPC Health Checking Protocol" (grpc/grpc, doc/health-checking.md) and the comments of
 * grpc/health/v1/health.proto (grpc/grpc-proto).
 */
export function healthRoutes(
  health: HealthStatus,
  { maxWatches = 1000 }: HealthRoutesOptions = {},
): (router: ConnectRouter) => void {
  return (router) => {
    router.service(Health, {
      check({ service }) {
        const status = health.get(service);
        if (status === undefined) {
          throw new ConnectError("unknown service", Code.NotFound);
        }
        return { status: Status[status] };
      },

      list() {
        const all = health.all();
        if (all.size > maxListedServices) {
          throw new ConnectError(`more than ${maxListedServices} services`, Code.ResourceExhausted);
        }
        const statuses = Object.fromEntries(
          Array.from(all, ([service, status]) => [service, { status: Status[status] }] as const),
        );
        return { statuses };
      },

      async *watch({ service }, { signal }) {
        // An answer without a first status makes a client wait before it tries again.
        if (health.watchesEnded) {
          throw new ConnectError("the server is shutting down", Code.Unavailable);
        }
        if (health.openWatches >= maxWatches) {
          throw new ConnectError(`${maxWatches} watches are open`, Code.ResourceExhausted);
        }
        if (health.get(service) === undefined && service.length > maxUnknownNameLength) {
          throw new ConnectError("the name of the service is too long", Code.InvalidArgument);
        }
        for await (const status of health.watch(service, signal)) {
          yield { status: Status[status] };
        }
        if (signal.aborted) {
          throw ConnectError.from(signal.reason, Code.Canceled);
        }
      },
    });
  };
}
