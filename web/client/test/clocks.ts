import type { Clock } from '../src/clock.js';

/** Time that stands until it is moved. */
export class ManualClock implements Clock {
  chance = 1;
  #now_ms: number;
  #next = 1;
  #timers = new Map<number, { at_ms: number; callback: () => void }>();

  constructor(now_ms = 1_763_686_800_000) {
    this.#now_ms = now_ms;
  }

  now(): number {
    return this.#now_ms;
  }

  random(): number {
    return this.chance;
  }

  setTimeout(callback: () => void, delay_ms: number): number {
    const handle = this.#next++;
    this.#timers.set(handle, { at_ms: this.#now_ms + delay_ms, callback });
    return handle;
  }

  clearTimeout(handle: unknown): void {
    this.#timers.delete(handle as number);
  }

  /** Moves on, running what falls due in its order. */
  step(span_ms: number): void {
    const until_ms = this.#now_ms + span_ms;
    while (this.#runNext(until_ms));
    this.#now_ms = until_ms;
  }

  #runNext(until_ms: number): boolean {
    const due = [...this.#timers].filter(([, { at_ms }]) => at_ms <= until_ms).sort(([, a], [, b]) => a.at_ms - b.at_ms)[0];
    if (!due) return false;
    const [handle, { at_ms, callback }] = due;
    this.#timers.delete(handle);
    this.#now_ms = Math.max(this.#now_ms, at_ms);
    callback();
    return true;
  }
}

const TICK_MS = 2;
const ticking = new Set<NodeJS.Timeout>();

/**
 * Time that runs `factor` times as fast: half a minute of waiting passes in a fraction of a second. It goes on by a
 * fixed step in each turn of the event loop, so on a machine too busy to run us it stands: deadlines do not pass while
 * nobody had a chance to meet them.
 */
export function fastClock(factor: number): Clock {
  const clock = new ManualClock(Date.now());
  clock.chance = 0.5;
  const ticker = setInterval(() => clock.step(TICK_MS * factor), TICK_MS);
  ticking.add(ticker);
  return clock;
}

export function stopClocks(): void {
  for (const ticker of ticking) clearInterval(ticker);
  ticking.clear();
}

/** Waits for something to become true, and says what did not. */
export async function until(what: string, holds: () => boolean, within_ms = 12_000): Promise<void> {
  const deadline_ms = Date.now() + within_ms;
  while (!holds()) {
    if (Date.now() > deadline_ms) throw new Error(`never happened: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 3));
  }
}
