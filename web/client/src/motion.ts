/**
 * Where to draw a courier between two messages. The server says where they were, how fast and which way; that is carried on
 * (`foresight.ts`), and when the next message disagrees, the difference is faded out instead of jumped.
 * All functions are pure: the same motion and the same time give the same place.
 */

import { carryOn, FULL_SPEED_MS, headingOf, isMoving, METRES_PER_DEGREE, placeOn, SLOWING_MS, wrapSigned, type Carried, type Line, type OnLine, type Sample } from './foresight.js';

/** Beyond this the courier did not drive there: no use pretending. */
const JUMP_BEYOND_M = 200;
const BLEND_MS = 1_000;
export type { Line, Sample } from './foresight.js';

export interface Place2D {
  lat: number;
  lon: number;
  /** Undefined as long as no message knew it. */
  heading_deg: number | undefined;
}

export interface Motion {
  readonly sample: Sample;
  /** Where on its line it is. */
  readonly on: OnLine | undefined;
  readonly heading_deg: number | undefined;
  /** What was drawn minus what the sample says, at the moment it came; fades to nothing. */
  readonly correction: { readonly north_m: number; readonly east_m: number; readonly turn_deg: number };
  readonly corrected_ms: number;
}

/** The first sample: drawn where it says, and carried on along the line, if there is one. */
export function beginMotion(sample: Sample, now_ms: number, line?: Line): Motion {
  return { sample, on: placeOn(line, sample), heading_deg: headingOf(sample), correction: { north_m: 0, east_m: 0, turn_deg: 0 }, corrected_ms: now_ms };
}

/** A newer sample, or another line. What is drawn does not jump, unless it was wrong by more than 200 m. */
export function continueMotion(motion: Motion, sample: Sample, now_ms: number, line?: Line): Motion {
  const drawn = placeAt(motion, now_ms);
  const heading_deg = headingOf(sample) ?? motion.heading_deg;
  const on = placeOn(line, sample);
  const predicted = carryOn(sample, on, now_ms);
  const off = offset(predicted, drawn);
  const heads_deg = predicted.heading_deg ?? heading_deg;
  const turn_deg = drawn.heading_deg === undefined || heads_deg === undefined ? 0 : turn(heads_deg, drawn.heading_deg);
  const jump = Math.hypot(off.north_m, off.east_m) > JUMP_BEYOND_M;
  return {
    sample,
    on,
    heading_deg,
    correction: jump ? { north_m: 0, east_m: 0, turn_deg: 0 } : { ...off, turn_deg },
    corrected_ms: now_ms,
  };
}

/** What to draw. */
export function placeAt(motion: Motion, now_ms: number): Place2D {
  const { correction } = motion;
  const left = 1 - smooth((now_ms - motion.corrected_ms) / BLEND_MS);
  const predicted: Carried = carryOn(motion.sample, motion.on, now_ms);
  const { lat, lon } = left === 0 ? predicted : displace(predicted, correction.north_m * left, correction.east_m * left);
  const heads_deg = predicted.heading_deg ?? motion.heading_deg;
  return { lat, lon, heading_deg: heads_deg === undefined ? undefined : wrapDegrees(heads_deg + correction.turn_deg * left) };
}

/** Whether the place will stay as it is until another sample comes. */
export function isSettled(motion: Motion, now_ms: number): boolean {
  const blended = now_ms - motion.corrected_ms >= BLEND_MS;
  const arrived = !isMoving(motion.sample) || now_ms - motion.sample.t_ms >= FULL_SPEED_MS + SLOWING_MS;
  return blended && arrived;
}

/** The sample carried on along its heading. */
export function predict(sample: Sample, now_ms: number): { lat: number; lon: number } {
  const { lat, lon } = carryOn(sample, undefined, now_ms);
  return { lat, lon };
}

/** The shortest way to turn, -180 up to 180. */
export function turn(from_deg: number, to_deg: number): number {
  return wrapSigned(to_deg - from_deg);
}

/** Metres from `a` to `b`; for the distances of a town. The short way round at the antimeridian. */
export function offset(a: { lat: number; lon: number }, b: { lat: number; lon: number }): { north_m: number; east_m: number } {
  const narrowing = Math.cos((((a.lat + b.lat) / 2) * Math.PI) / 180);
  return {
    north_m: (b.lat - a.lat) * METRES_PER_DEGREE,
    east_m: wrapSigned(b.lon - a.lon) * METRES_PER_DEGREE * narrowing,
  };
}

export function distance_m(a: { lat: number; lon: number }, b: { lat: number; lon: number }): number {
  const { north_m, east_m } = offset(a, b);
  return Math.hypot(north_m, east_m);
}

function displace(from: { lat: number; lon: number }, north_m: number, east_m: number): { lat: number; lon: number } {
  const lat = Math.max(-90, Math.min(90, from.lat + north_m / METRES_PER_DEGREE));
  // The same middle latitude as in `offset`, so that the two undo each other; never zero, even at a pole.
  const narrowing = Math.max(1e-6, Math.cos((((from.lat + lat) / 2) * Math.PI) / 180));
  return { lat, lon: wrapSigned(from.lon + east_m / (METRES_PER_DEGREE * narrowing)) };
}

/** 0 to 1 with soft ends. */
function smooth(share: number): number {
  const x = Math.max(0, Math.min(1, share));
  return x * x * (3 - 2 * x);
}

function wrapDegrees(degrees: number): number {
  return ((degrees % 360) + 360) % 360;
}
