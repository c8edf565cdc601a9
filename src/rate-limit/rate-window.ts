import type { WindowUses } from "./report-uses.ts";

/** The uses of one key in one window, as far as this replica knows. */
export class RateWindow {
  readonly keyId: string;
  /** Wall time, in milliseconds, as is the end. */
  readonly startMillis: number;
  readonly endMillis: number;
  /** By all replicas, as the database last said. */
  #total = 0;
  #unreported = 0;
  #reporting = 0;
  #wasTold = false;

  constructor(keyId: string, startMillis: number, endMillis: number) {
    this.keyId = keyId;
    this.startMillis = startMillis;
    this.endMillis = endMillis;
  }

  /** At least so many uses there were, by all replicas. */
  get used(): number {
    return this.#total + this.#unreported;
  }

  /** Uses here of which the database has not said that it knows them. */
  get unreported(): number {
    return this.#unreported;
  }

  /** Whether the database has said anything of this window. */
  get wasTold(): boolean {
    return this.#wasTold;
  }

  use(): void {
    this.#unreported++;
  }

  /** What to tell the database. Until it has answered, the uses remain unreported. */
  report(): WindowUses {
    this.#reporting = this.#unreported;
    const { keyId, startMillis, endMillis } = this;
    return { keyId, startSeconds: startMillis / 1000, endSeconds: endMillis / 1000, uses: this.#reporting };
  }

  /**
   * The database did not answer the last report. What it says next may have those uses in it or not.
   */
  failed(): void {
    this.#reporting = 0;
  }

  /** The database knows of so many uses, by all replicas: those of the last report are among them. */
  told(total: number): void {
    this.#unreported -= this.#reporting;
    this.#reporting = 0;
    this.#total = total;
    this.#wasTold = true;
  }
}
