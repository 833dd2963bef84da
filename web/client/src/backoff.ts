import type { Clock } from './clock.js';

const FIRST_MS = 1_000;
const LONGEST_MS = 30_000;

/**
 * How long to wait before coming back: 1 s doubling to 30 s, with full jitter, so that a thousand phones which lost
 * the same server do not return in the same instant.
 */
export class Backoff {
  readonly #clock: Clock;
  #failures = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  next_ms(): number {
    const ceiling_ms = Math.min(LONGEST_MS, FIRST_MS * 2 ** Math.min(this.#failures, 10));
    this.#failures += 1;
    return this.#clock.random() * ceiling_ms;
  }

  reset(): void {
    this.#failures = 0;
  }
}
