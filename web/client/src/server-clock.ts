import type { Clock } from './clock.js';

const WINDOW_MS = 5 * 60_000;

/**
 * Estimates the server's clock from things it stamped. A stamp is always older than its arrival, so
 * `arrival - stamp` is the difference of the two clocks plus a delay that is never negative; the smallest one seen
 * is the best guess. It is kept over the last five to ten minutes, so that a clock that was set is forgiven.
 */
export class ServerClock {
  readonly #clock: Clock;
  #window_start_ms = 0;
  #previous_ms = Infinity;
  #current_ms = Infinity;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Something stamped `t_ms` by the server has just arrived. */
  observe(t_ms: number): void {
    if (!Number.isFinite(t_ms)) return;
    const arrival_ms = this.#clock.now();
    if (arrival_ms - this.#window_start_ms > WINDOW_MS) {
      this.#previous_ms = this.#current_ms;
      this.#current_ms = Infinity;
      this.#window_start_ms = arrival_ms;
    }
    this.#current_ms = Math.min(this.#current_ms, arrival_ms - t_ms);
  }

  /** By how much this machine's clock is ahead of the server's; 0 while nothing is known. */
  get difference_ms(): number {
    const smallest_ms = Math.min(this.#previous_ms, this.#current_ms);
    return Number.isFinite(smallest_ms) ? smallest_ms : 0;
  }

  /** Now, by the server's clock. */
  now(): number {
    return this.#clock.now() - this.difference_ms;
  }
}
