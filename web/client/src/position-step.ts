import { isObject, type JsonObject } from './merge-patch.js';

/** How a position differs from the one before, in the whole numbers of the protocol. */
export interface PositionStep {
  readonly later_ms: number;
  readonly lat_e6: number;
  readonly lon_e6: number;
  readonly turn_deg: number;
  readonly faster_dmps: number;
  readonly wider_m: number;
}

/** The patch that a step stands for; none where no position was held before. */
export function patchOf(step: PositionStep, state: JsonObject): JsonObject | undefined {
  const held = state['position'];
  if (!isObject(held)) return undefined;
  const { lat, lon, heading_deg, speed_mps, accuracy_m, t_ms } = held;
  const numbers = [lat, lon, speed_mps, accuracy_m, t_ms];
  if (!numbers.every((value) => typeof value === 'number')) return undefined;
  const [lat_deg, lon_deg, mps, radius_m, taken_ms] = numbers as [number, number, number, number, number];
  return {
    position: {
      lat: (Math.round(lat_deg * 1e6) + step.lat_e6) / 1e6,
      lon: (Math.round(lon_deg * 1e6) + step.lon_e6) / 1e6,
      heading_deg: typeof heading_deg === 'number' ? (heading_deg + step.turn_deg + 360) % 360 : null,
      speed_mps: (Math.round(mps * 10) + step.faster_dmps) / 10,
      accuracy_m: radius_m + step.wider_m,
      t_ms: taken_ms + step.later_ms,
    },
  };
}
