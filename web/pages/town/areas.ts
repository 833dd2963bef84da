import type { AreaState, Subscription, Wayfare, WayfareError } from '@wayfare/client';
import { CELLS_MAX, cover, type Cover, type View } from './cells.js';
import { Townsfolk } from './townsfolk.js';

/** Cells just left are watched on for a moment: who moves the map often comes back. */
const LINGER_MS = 5_000;
/** Below the 100 topics that one connection may have. */
const TOPICS_MAX = 96;

/** Watches the `area:` topics that show what is in view. */
export class Areas {
  readonly folk = new Townsfolk();
  readonly #wayfare: Wayfare;
  readonly #onChange: () => void;
  readonly #onRefused: (error: WayfareError) => void;
  readonly #subscriptions = new Map<string, Subscription>();
  /** When the map looked away. */
  readonly #left = new Map<string, number>();
  #shows: Cover['shows'] = 'couriers';

  constructor(wayfare: Wayfare, onChange: () => void, onRefused: (error: WayfareError) => void) {
    this.#wayfare = wayfare;
    this.#onChange = onChange;
    this.#onRefused = onRefused;
    setInterval(() => this.#sweep(), 1_000);
  }

  get shows(): Cover['shows'] {
    return this.#shows;
  }

  look(view: View): void {
    const { shows, cells } = cover(view);
    const changed = shows !== this.#shows;
    this.#shows = shows;
    const wanted = new Set(cells.map((cell) => `area:${cell}`));
    const now_ms = Date.now();
    for (const topic of this.#subscriptions.keys()) {
      if (wanted.has(topic)) this.#left.delete(topic);
      // Another step shows the same couriers another way: nothing of it may stay.
      else if (changed) this.#stop(topic);
      else if (!this.#left.has(topic)) this.#left.set(topic, now_ms);
    }
    this.#makeRoom(wanted);
    for (const topic of wanted) if (!this.#subscriptions.has(topic)) this.#watch(topic);
    this.#onChange();
  }

  #watch(topic: string): void {
    const subscription = this.#wayfare.watch<AreaState>(topic, {
      onState: (state, { kind, patch }) => {
        if (kind === 'delta' && patch) this.folk.change(topic, patch);
        else this.folk.take(topic, state);
        this.#onChange();
      },
      onError: (error) => {
        this.#stop(topic);
        this.#onRefused(error);
      },
    });
    this.#subscriptions.set(topic, subscription);
  }

  #makeRoom(wanted: ReadonlySet<string>): void {
    const fresh = [...wanted].filter((topic) => !this.#subscriptions.has(topic)).length;
    let over = this.#subscriptions.size + fresh - Math.max(TOPICS_MAX, CELLS_MAX);
    // Those left first are first in the list.
    for (const topic of [...this.#left.keys()]) if (over-- > 0) this.#stop(topic);
  }

  #sweep(): void {
    const before_ms = Date.now() - LINGER_MS;
    for (const [topic, left_ms] of this.#left) if (left_ms < before_ms) this.#stop(topic);
  }

  #stop(topic: string): void {
    this.#subscriptions.get(topic)?.stop();
    this.#subscriptions.delete(topic);
    this.#left.delete(topic);
    this.folk.leave(topic);
  }
}
