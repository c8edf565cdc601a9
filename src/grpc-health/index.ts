export { type HealthRoutesOptions, healthRoutes } from "./health-routes.ts";
export { HealthStatus, type ServingStatus, type WatchedStatus } from "./health-status.ts";
