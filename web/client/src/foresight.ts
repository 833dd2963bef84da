/**
 * Where a courier is between two messages. The server computes the same from the same numbers (`crates/engine/src/foresight.rs`) and sends a
 * position only where this would be too far off; so it must not be changed on one side alone. It happens on the plane that touches the
 * Earth at the position.
 */

export const METRES_PER_DEGREE = 111_195;
/** Slower than this is standing: headings of the standing are noise. */
const STANDING_MPS = 0.5;
/** Carried on at full speed for so long, then slowing to a stand within so long. */
export const FULL_SPEED_MS = 10_000;
export const SLOWING_MS = 4_000;
/** A courier this far beside the line does not follow it, nor does one that heads more than 60 degrees elsewhere. */
const BESIDE_M = 30;
const ALONG_COS = 0.5;

export interface Sample {
  lat: number;
  lon: number;
  heading_deg?: number | undefined;
  speed_mps?: number | undefined;
  /** When it was measured, on the same clock as the `now_ms` of the functions below. */
  t_ms: number;
}

/** The published way to the next stop, `[lon, lat]`, as `decodePolyline6` gives it. */
export type Line = readonly (readonly [lon: number, lat: number])[];

/** A place on a line: the leg from its point `leg` to the next, and how much of it lies behind. */
export interface OnLine {
  readonly line: Line;
  readonly leg: number;
  readonly share: number;
}

export interface Carried {
  lat: number;
  lon: number;
  /** Which way the courier goes there. */
  heading_deg: number | undefined;
}

export function isMoving(sample: Sample): boolean {
  return headingOf(sample) !== undefined && (sample.speed_mps ?? 0) >= STANDING_MPS;
}

export function headingOf(sample: Sample): number | undefined {
  return typeof sample.heading_deg === 'number' ? sample.heading_deg : undefined;
}

/** The nearest place on the line that leads where the courier heads. Looks at each point: once per position or line, not per frame. */
export function placeOn(line: Line | undefined, sample: Sample): OnLine | undefined {
  const heading_deg = headingOf(sample);
  if (!line || heading_deg === undefined) return undefined;
  const [cos, sin] = [Math.cos(radians(heading_deg)), Math.sin(radians(heading_deg))];
  const plane = planeAt(sample);
  let best: OnLine | undefined;
  let best_m = BESIDE_M;
  for (let leg = 0; leg + 1 < line.length; leg += 1) {
    const [from, to] = [plane(line[leg]!), plane(line[leg + 1]!)];
    const [north, east] = [to[0] - from[0], to[1] - from[1]];
    const length_m = Math.hypot(north, east);
    if (length_m === 0 || north * cos + east * sin < ALONG_COS * length_m) continue;
    const share = Math.max(0, Math.min(1, -(from[0] * north + from[1] * east) / (length_m * length_m)));
    const beside_m = Math.hypot(from[0] + north * share, from[1] + east * share);
    if (beside_m < best_m) [best, best_m] = [{ line, leg, share }, beside_m];
  }
  return best;
}

/** The sample carried on: along its line if it is on one, otherwise along its heading. */
export function carryOn(sample: Sample, on: OnLine | undefined, now_ms: number): Carried {
  const heading_deg = headingOf(sample);
  if (!isMoving(sample) || heading_deg === undefined) return { lat: sample.lat, lon: sample.lon, heading_deg };
  const way_m = ((sample.speed_mps ?? 0) * carried_ms(now_ms - sample.t_ms)) / 1000;
  if (on) return follow(sample, on, way_m, heading_deg);
  return { ...displace(sample, way_m * Math.cos(radians(heading_deg)), way_m * Math.sin(radians(heading_deg))), heading_deg };
}

/** So many ms of full speed make the way of this time. */
function carried_ms(age_ms: number): number {
  if (age_ms <= FULL_SPEED_MS) return Math.max(0, age_ms);
  // From full speed to none, evenly: half the way that full speed would make.
  const slowing_ms = Math.min(age_ms - FULL_SPEED_MS, SLOWING_MS);
  return FULL_SPEED_MS + slowing_ms - slowing_ms ** 2 / (2 * SLOWING_MS);
}

/** Along the line, as far beside it as the courier was; at its end there is no further. */
function follow(sample: Sample, { line, leg: first, share: begun }: OnLine, way_m: number, before_deg: number): Carried {
  const plane = planeAt(sample);
  let [left_m, share, heading_deg] = [way_m, begun, before_deg];
  let [beside, at]: [Flat, Flat] = [[0, 0], [0, 0]];
  for (let leg = first; leg + 1 < line.length; leg += 1) {
    const [from, to] = [plane(line[leg]!), plane(line[leg + 1]!)];
    const [north, east] = [to[0] - from[0], to[1] - from[1]];
    if (leg === first) beside = [-(from[0] + north * share), -(from[1] + east * share)];
    const length_m = Math.hypot(north, east);
    // The courier turns with the line; on the first leg it heads where it said.
    if (leg > first && length_m > 0) heading_deg = (degrees(Math.atan2(east, north)) + 360) % 360;
    const rest_m = length_m * (1 - share);
    if (left_m <= rest_m && length_m > 0) {
      share += left_m / length_m;
      return { ...displace(sample, from[0] + north * share + beside[0], from[1] + east * share + beside[1]), heading_deg };
    }
    [left_m, share, at] = [left_m - rest_m, 0, to];
  }
  return { ...displace(sample, at[0] + beside[0], at[1] + beside[1]), heading_deg };
}

/** North and east, metres. */
type Flat = readonly [north_m: number, east_m: number];

function planeAt(sample: { lat: number; lon: number }): (point: readonly [lon: number, lat: number]) => Flat {
  const narrowing = narrowingAt(sample.lat);
  return ([lon, lat]) => [(lat - sample.lat) * METRES_PER_DEGREE, wrapSigned(lon - sample.lon) * METRES_PER_DEGREE * narrowing];
}

function displace(from: { lat: number; lon: number }, north_m: number, east_m: number): { lat: number; lon: number } {
  const lat = Math.max(-90, Math.min(90, from.lat + north_m / METRES_PER_DEGREE));
  return { lat, lon: wrapSigned(from.lon + east_m / (METRES_PER_DEGREE * narrowingAt(from.lat))) };
}

/** Never zero, even at a pole. */
function narrowingAt(lat: number): number {
  return Math.max(1e-6, Math.cos(radians(lat)));
}

export function wrapSigned(difference_deg: number): number {
  return ((((difference_deg + 180) % 360) + 360) % 360) - 180;
}

function radians(angle_deg: number): number {
  return (angle_deg * Math.PI) / 180;
}

function degrees(angle: number): number {
  return (angle * 180) / Math.PI;
}
