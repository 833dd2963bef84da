/**
 * Where to draw a courier between two messages. The server says where they were, how fast and which way; here that is
 * carried on for a few seconds, and when the next message disagrees, the difference is faded out instead of jumped.
 * All functions are pure: the same motion and the same time give the same place.
 */

const METRES_PER_DEGREE = 111_195;
/** Beyond this the courier did not drive there: no use pretending. */
const JUMP_BEYOND_M = 200;
const BLEND_MS = 1_000;
/** Carried on at full speed for so long, then slowing to a stand; 5 s worth of way in all. */
const FULL_SPEED_MS = 4_000;
const SLOWING_MS = 2_000;
/** Slower than this is standing: headings of the standing are noise. */
const STANDING_MPS = 0.5;

export interface Sample {
  lat: number;
  lon: number;
  heading_deg?: number | undefined;
  speed_mps?: number | undefined;
  /** When it was measured, on the same clock as the `now_ms` of the functions below. */
  t_ms: number;
}

export interface Place2D {
  lat: number;
  lon: number;
  /** Undefined as long as no message knew it. */
  heading_deg: number | undefined;
}

export interface Motion {
  readonly sample: Sample;
  readonly heading_deg: number | undefined;
  /** What was drawn minus what the sample says, at the moment it came; fades to nothing. */
  readonly correction: { readonly north_m: number; readonly east_m: number; readonly turn_deg: number };
  readonly corrected_ms: number;
}

/** The first sample: drawn where it says. */
export function beginMotion(sample: Sample, now_ms: number): Motion {
  return { sample, heading_deg: headingOf(sample), correction: { north_m: 0, east_m: 0, turn_deg: 0 }, corrected_ms: now_ms };
}

/** A newer sample. What is drawn does not jump, unless it was wrong by more than 200 m. */
export function continueMotion(motion: Motion, sample: Sample, now_ms: number): Motion {
  const drawn = placeAt(motion, now_ms);
  const heading_deg = headingOf(sample) ?? motion.heading_deg;
  const predicted = predict(sample, now_ms);
  const off = offset(predicted, drawn);
  const turn_deg = drawn.heading_deg === undefined || heading_deg === undefined ? 0 : turn(heading_deg, drawn.heading_deg);
  const jump = Math.hypot(off.north_m, off.east_m) > JUMP_BEYOND_M;
  return {
    sample,
    heading_deg,
    correction: jump ? { north_m: 0, east_m: 0, turn_deg: 0 } : { ...off, turn_deg },
    corrected_ms: now_ms,
  };
}

/** What to draw. */
export function placeAt(motion: Motion, now_ms: number): Place2D {
  const { correction } = motion;
  const left = 1 - smooth((now_ms - motion.corrected_ms) / BLEND_MS);
  const predicted = predict(motion.sample, now_ms);
  const place = left === 0 ? predicted : displace(predicted, correction.north_m * left, correction.east_m * left);
  const heading_deg = motion.heading_deg === undefined ? undefined : wrapDegrees(motion.heading_deg + correction.turn_deg * left);
  return { ...place, heading_deg };
}

/** Whether the place will stay as it is until another sample comes. */
export function isSettled(motion: Motion, now_ms: number): boolean {
  const blended = now_ms - motion.corrected_ms >= BLEND_MS;
  const arrived = !isMoving(motion.sample) || now_ms - motion.sample.t_ms >= FULL_SPEED_MS + SLOWING_MS;
  return blended && arrived;
}

/** The sample carried on along its heading, for 5 s worth of way at most. */
export function predict(sample: Sample, now_ms: number): { lat: number; lon: number } {
  if (!isMoving(sample)) return { lat: sample.lat, lon: sample.lon };
  const way_m = (sample.speed_mps ?? 0) * (carriedOn_ms(now_ms - sample.t_ms) / 1000);
  const heading = ((sample.heading_deg ?? 0) * Math.PI) / 180;
  return displace(sample, way_m * Math.cos(heading), way_m * Math.sin(heading));
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

function carriedOn_ms(age_ms: number): number {
  if (age_ms <= 0) return 0;
  if (age_ms <= FULL_SPEED_MS) return age_ms;
  // From full speed to none, evenly: half the way that full speed would make.
  const slowing_ms = Math.min(age_ms - FULL_SPEED_MS, SLOWING_MS);
  return FULL_SPEED_MS + slowing_ms - slowing_ms ** 2 / (2 * SLOWING_MS);
}

function isMoving(sample: Sample): boolean {
  return headingOf(sample) !== undefined && (sample.speed_mps ?? 0) >= STANDING_MPS;
}

function headingOf(sample: Sample): number | undefined {
  return typeof sample.heading_deg === 'number' ? sample.heading_deg : undefined;
}

/** 0 to 1 with soft ends. */
function smooth(share: number): number {
  const x = Math.max(0, Math.min(1, share));
  return x * x * (3 - 2 * x);
}

function wrapDegrees(degrees: number): number {
  return ((degrees % 360) + 360) % 360;
}

function wrapSigned(degrees: number): number {
  return wrapDegrees(degrees + 180) - 180;
}
