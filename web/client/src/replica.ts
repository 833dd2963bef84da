import { compareCursors, formatCursor, parseCursor, type Cursor } from './cursor.js';
import { mergePatch, type JsonObject } from './merge-patch.js';

/** What a watcher may assert on: the first three stay 0 as long as both sides keep the protocol. */
export interface Counters {
  /** Deltas that skipped a number, or came before the snapshot they build on. */
  gaps: number;
  /** Frames with the number already held. */
  duplicates: number;
  /** Frames with a lower number or epoch than the one held. */
  backward: number;
  /** Frames of a new connection that the old one had already brought: expected while changing over. */
  covered: number;
  /** Frames taken. */
  applied: number;
}

export function newCounters(): Counters {
  return { gaps: 0, duplicates: 0, backward: 0, covered: 0, applied: 0 };
}

/** `applied`: the state changed. `covered`: nothing new. `fault`: subscribe again without a cursor. */
export type Outcome = 'applied' | 'covered' | 'fault';

/**
 * A copy of a state topic. Its one rule: a delta applies only to the state at `seq - 1`. Whatever breaks it makes the
 * replica wait, showing what it last had, until a snapshot comes.
 */
export class StateReplica {
  readonly counters: Counters;
  #state: JsonObject = {};
  #held: Cursor | undefined;
  /** Nothing but a snapshot helps. */
  #waiting = true;
  /** A fault was reported; what is still under way from before is passed over without counting. */
  #faulted = false;
  /** While changing connections: frames up to here were already had from the old one. */
  #handover: Cursor | undefined;

  constructor(counters: Counters = newCounters()) {
    this.counters = counters;
  }

  get state(): JsonObject {
    return this.#state;
  }

  get held(): string | undefined {
    return this.#held && formatCursor(this.#held);
  }

  /** The cursor to subscribe with; none if only a snapshot helps. */
  get resumeFrom(): string | undefined {
    return this.#waiting ? undefined : this.held;
  }

  /** A new connection takes over from one that is gone. */
  beginLine(): void {
    this.#handover = undefined;
  }

  /** A new connection takes over from one that was alive until now. */
  beginHandover(): void {
    this.#handover = this.#waiting ? undefined : this.#held;
  }

  subscribed(cursorText: string): void {
    const cursor = parseCursor(cursorText);
    this.#faulted = false;
    if (cursor && this.#handover && cursor.epoch === this.#handover.epoch && cursor.seq <= this.#handover.seq) return;
    // Anything but the very place we hold is followed by a snapshot.
    if (!cursor || !this.#held || compareCursors(cursor, this.#held) !== 0) this.#waiting = true;
  }

  snapshot(cursorText: string, state: JsonObject): Outcome {
    const cursor = parseCursor(cursorText);
    if (!cursor) return this.#fault('gaps');
    if (this.#handover && compareCursors(cursor, this.#handover) <= 0) {
      this.counters.covered += 1;
      return 'covered';
    }
    if (this.#held && compareCursors(cursor, this.#held) < 0) this.counters.backward += 1;
    this.#state = mergePatch({}, state) as JsonObject;
    this.#held = cursor;
    this.#waiting = false;
    this.#faulted = false;
    this.#handover = undefined;
    this.counters.applied += 1;
    return 'applied';
  }

  /** Without a patch (a move of what was nowhere) nothing fits. */
  delta(seq: number, patch: JsonObject | undefined): Outcome {
    if (this.#faulted) return 'covered';
    if (this.#waiting || !this.#held) return this.#fault('gaps');
    if (this.#handover && seq <= this.#handover.seq) {
      this.counters.covered += 1;
      return 'covered';
    }
    if (seq === this.#held.seq) return this.#fault('duplicates');
    if (seq < this.#held.seq) return this.#fault('backward');
    if (seq !== this.#held.seq + 1 || !patch) return this.#fault('gaps');
    this.#state = mergePatch(this.#state, patch) as JsonObject;
    this.#held = { epoch: this.#held.epoch, seq };
    this.#handover = undefined;
    this.counters.applied += 1;
    return 'applied';
  }

  end(state: JsonObject | undefined): void {
    if (state) this.#state = mergePatch({}, state) as JsonObject;
    this.counters.applied += 1;
  }

  #fault(counter: 'gaps' | 'duplicates' | 'backward'): Outcome {
    this.counters[counter] += 1;
    this.#waiting = true;
    this.#faulted = true;
    return 'fault';
  }
}
