import { compareCursors, formatCursor, parseCursor, type Cursor } from './cursor.js';
import { newCounters, type Counters, type Outcome } from './replica.js';

/** A place in a log topic. Events it has had are not given out twice, whatever connection brings them. */
export class LogReader {
  readonly counters: Counters;
  readonly #from: 'start' | 'now';
  #held: Cursor | undefined;
  #handover = false;

  constructor(from: 'start' | 'now', counters: Counters = newCounters()) {
    this.#from = from;
    this.counters = counters;
  }

  get resumeFrom(): string | undefined {
    if (this.#held) return formatCursor(this.#held);
    return this.#from === 'start' ? 'start' : undefined;
  }

  beginLine(): void {
    this.#handover = false;
  }

  beginHandover(): void {
    this.#handover = true;
  }

  subscribed(cursorText: string): void {
    // From now on: "now" is this place, and a reconnect must not lose what happens until then.
    if (!this.#held && this.#from === 'now') this.#held = parseCursor(cursorText);
  }

  event(cursorText: string): Outcome {
    const cursor = parseCursor(cursorText);
    if (!cursor) {
      this.counters.gaps += 1;
      return 'covered';
    }
    const order = this.#held && cursor.epoch === this.#held.epoch ? compareCursors(cursor, this.#held) : 1;
    if (order <= 0) {
      this.counters[this.#handover ? 'covered' : order === 0 ? 'duplicates' : 'backward'] += 1;
      return 'covered';
    }
    this.#held = cursor;
    this.counters.applied += 1;
    return 'applied';
  }

  reset(cursorText: string): void {
    this.#held = parseCursor(cursorText);
  }
}
