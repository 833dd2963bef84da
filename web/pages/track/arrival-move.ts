import type { TripState } from '@wayfare/client';

/** Remembers the arrival told before this one: the cause of a change is told, but not whether it is for the better. */
export class ArrivalMove {
  #at_ms: number | undefined;
  #moved_ms: number | undefined;

  /** By how much the arrival last moved: above 0 is later. `undefined` while only one was seen. */
  after({ eta }: TripState): number | undefined {
    if (eta && eta.at_ms !== this.#at_ms) {
      this.#moved_ms = this.#at_ms === undefined ? undefined : eta.at_ms - this.#at_ms;
      this.#at_ms = eta.at_ms;
    }
    return this.#moved_ms;
  }
}
