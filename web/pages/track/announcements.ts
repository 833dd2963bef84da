import type { TripView } from './view.js';

const WORTH_TELLING_MS = 2 * 60_000;
const AT_MOST_EVERY_MS = 60_000;

/**
 * What a screen reader is told: every new phase, and a time of arrival that moved by minutes. Not every position, and
 * not the countdown, which would talk without end.
 */
export class Announcements {
  #headline: string | undefined;
  #eta_ms: number | undefined;
  #eta_told_ms = -Infinity;

  /** The sentence to say now, if any. */
  next(view: TripView, now_ms: number): string | undefined {
    const phaseIsNew = view.headline !== this.#headline;
    const moved_ms = view.eta === undefined ? 0 : Math.abs(view.eta.at_ms - (this.#eta_ms ?? -Infinity));
    const etaIsNew = moved_ms >= WORTH_TELLING_MS && now_ms - this.#eta_told_ms >= AT_MOST_EVERY_MS;
    if (!phaseIsNew && !etaIsNew) return undefined;
    this.#headline = view.headline;
    const arrival = view.eta === undefined ? undefined : `Arrival about ${view.eta.clock}, ${view.eta.relative}.`;
    if (view.eta) {
      this.#eta_ms = view.eta.at_ms;
      this.#eta_told_ms = now_ms;
    }
    return [phaseIsNew ? `${view.headline}.` : undefined, arrival].filter(Boolean).join(' ');
  }
}
