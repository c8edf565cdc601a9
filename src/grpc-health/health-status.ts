/**
 * What a service can be said to be: the names of `grpc.health.v1.HealthCheckResponse.ServingStatus`
 * without SERVICE_UNKNOWN, which is for the protocol to say and not for a server to set.
 */
export type ServingStatus = "UNKNOWN" | "SERVING" | "NOT_SERVING";

/** What a watch is told: a status, or that the server does not know the service (yet). */
export type WatchedStatus = ServingStatus | "SERVICE_UNKNOWN";

/**
 * The serving status of each service of one server, by the service's full name. The name `""` stands for the
 * server as a whole and is always there; it is NOT_SERVING until it is set, so that nothing sends traffic to
 * a server that is still starting.
 *
 * A drain has two steps, because a client that sees its watch end opens the next one at once:
 * {@link shutdown} tells every client to go elsewhere, and later {@link endWatches} lets go of the streams.
 *
 * Source: "GRPC Health Checking Protocol" (grpc/grpc, doc/health-checking.md).
 */
export class HealthStatus {
  readonly #statuses = new Map<string, ServingStatus>([["", "NOT_SERVING"]]);
  /** What wakes each open watch. */
  readonly #watches = new Set<() => void>();
  #isShutdown = false;
  #watchesEnded = false;

  /** Sets the status of a service and tells its watches. After {@link shutdown} it does nothing. */
  set(service: string, status: ServingStatus): void {
    if (this.#isShutdown) {
      return;
    }
    this.#statuses.set(service, status);
    this.#wakeWatches();
  }

  /** The status of a service now, or undefined where its name was never set. */
  get(service: string): ServingStatus | undefined {
    return this.#statuses.get(service);
  }

  /** The status of every service now, a copy. */
  all(): Map<string, ServingStatus> {
    return new Map(this.#statuses);
  }

  /**
   * Makes every service NOT_SERVING, for good, and tells the watches, which stay open: the first step of a
   * drain. It can be called again without effect.
   */
  shutdown(): void {
    this.#isShutdown = true;
    for (const service of this.#statuses.keys()) {
      this.#statuses.set(service, "NOT_SERVING");
    }
    this.#wakeWatches();
  }

  /**
   * Ends every open watch, each after its last status, and has no more of them: the second step of a drain.
   * It implies {@link shutdown}. A watch whose client does not read ends when its connection is closed.
   */
  endWatches(): void {
    this.#watchesEnded = true;
    this.shutdown();
  }

  /** True once {@link endWatches} was called. */
  get watchesEnded(): boolean {
    return this.#watchesEnded;
  }

  /** How many watches are open now. */
  get openWatches(): number {
    return this.#watches.size;
  }

  /**
   * The status of a service now, then each change, until the signal aborts or {@link endWatches} is called;
   * either ends the iteration and neither is an error. A status that was replaced before it could be taken
   * is left out: a slow reader gets the newest one.
   */
  async *watch(service: string, signal: AbortSignal): AsyncGenerator<WatchedStatus, void, undefined> {
    let resume = () => {};
    const wake = () => resume();
    // A reader that is gone may never ask for the next status, and then no `finally` here would run: the
    // signal, not the iteration, is what surely forgets the watch.
    const leave = () => {
      this.#watches.delete(wake);
      wake();
    };
    this.#watches.add(wake);
    signal.addEventListener("abort", leave, { once: true });
    try {
      let told: WatchedStatus | undefined;
      while (!signal.aborted) {
        const status = this.#statuses.get(service) ?? "SERVICE_UNKNOWN";
        if (status !== told) {
          told = status;
          yield status;
        } else if (this.#watchesEnded) {
          return;
        } else {
          await new Promise<void>((resolve) => {
            resume = resolve;
          });
        }
      }
    } finally {
      signal.removeEventListener("abort", leave);
      leave();
    }
  }

  #wakeWatches(): void {
    for (const wake of this.#watches) {
      wake();
    }
  }
}
