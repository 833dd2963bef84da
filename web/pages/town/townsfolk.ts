import type { AreaMarker, AreaState } from '@wayfare/client';

/** A courier as last told. */
export interface Courier extends AreaMarker {
  readonly id: string;
}

/** What one topic holds, as it came. */
type Held = Map<string, unknown>;

/** All couriers and numbers of the areas that are watched. */
export class Townsfolk {
  readonly #areas = new Map<string, Held>();

  /** The whole state of an area. */
  take(topic: string, state: AreaState): void {
    this.#areas.set(topic, new Map(Object.entries(state)));
  }

  /** What changed in it; null: gone. */
  change(topic: string, patch: Record<string, unknown>): void {
    const held = this.#areas.get(topic);
    if (!held) return;
    for (const [name, value] of Object.entries(patch)) {
      if (value === null || value === undefined) held.delete(name);
      else held.set(name, value);
    }
  }

  /** The area is not watched any more. */
  leave(topic: string): void {
    this.#areas.delete(topic);
  }

  /** Each courier once: who goes from area to area may stand in both for a moment. */
  couriers(): Map<string, Courier> {
    const couriers = new Map<string, Courier>();
    for (const held of this.#areas.values()) {
      for (const [id, value] of held) {
        if (!isMarker(value)) continue;
        const known = couriers.get(id);
        if (!known || known.t_ms < value.t_ms) couriers.set(id, { ...value, id });
      }
    }
    return couriers;
  }

  /** Couriers in each part of the coarse areas, over all who count. */
  numbers(): Map<string, number> {
    const numbers = new Map<string, number>();
    for (const held of this.#areas.values()) {
      for (const [name, value] of held) {
        const part = name.split('.', 1)[0] ?? '';
        if (typeof value === 'number' && value > 0 && part !== name) numbers.set(part, (numbers.get(part) ?? 0) + value);
      }
    }
    return numbers;
  }
}

function isMarker(value: unknown): value is AreaMarker {
  const { lat, lon, t_ms } = (value ?? {}) as Record<string, unknown>;
  return typeof lat === 'number' && typeof lon === 'number' && typeof t_ms === 'number';
}
