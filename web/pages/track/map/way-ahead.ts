export type Point = readonly [lon: number, lat: number];

/** A line to drive, and how far along it the courier is. */
export interface Way {
  readonly points: readonly Point[];
  /** Metres from the beginning. */
  readonly done_m: number;
}

export interface WayAhead {
  readonly way: Way;
  /** From the courier's place on the line to the end of it. */
  readonly points: readonly Point[];
}

const METRES_PER_DEGREE = 111_195;
/** What a metre of way between here and the last place weighs against a metre beside the line: where the line passes
 * itself, the nearer pass along the way is the right one. */
const JUMP_WEIGHT = 0.02;

/** Projects the courier onto the line and leaves away what lies behind. */
export function wayAhead(way: Way, courier: Point): WayAhead {
  const { points } = way;
  let best = { cost: Infinity, leg: 0, at: points[0], done_m: 0 };
  let leg_begins_m = 0;
  for (let leg = 0; leg + 1 < points.length; leg += 1) {
    const [from, to] = [points[leg] as Point, points[leg + 1] as Point];
    const [legEast, legNorth] = metres(from, to);
    const [east, north] = metres(from, courier);
    const length_m = Math.hypot(legEast, legNorth);
    const share = length_m === 0 ? 0 : Math.min(1, Math.max(0, (east * legEast + north * legNorth) / length_m ** 2));
    const beside_m = Math.hypot(east - legEast * share, north - legNorth * share);
    const done_m = leg_begins_m + length_m * share;
    const cost = beside_m + JUMP_WEIGHT * Math.abs(done_m - way.done_m);
    if (cost < best.cost) best = { cost, leg, at: [from[0] + wrap(to[0] - from[0]) * share, from[1] + (to[1] - from[1]) * share], done_m };
    leg_begins_m += length_m;
  }
  const rest = points.slice(best.leg + 1);
  const ahead = best.at === undefined || points.length < 2 ? [] : [best.at, ...rest];
  return { way: { points, done_m: best.done_m }, points: ahead };
}

/** The same line with longitudes that run on beyond 180 degrees, so that it is not drawn around the Earth. */
export function unwrapped(points: readonly Point[]): [number, number][] {
  let before = points[0]?.[0] ?? 0;
  return points.map(([lon, lat]) => {
    before += wrap(lon - before);
    return [before, lat];
  });
}

/** East and north of `from`; flat, which is right enough for a town. */
function metres(from: Point, to: Point): [number, number] {
  const scale = Math.cos((from[1] * Math.PI) / 180);
  return [wrap(to[0] - from[0]) * scale * METRES_PER_DEGREE, (to[1] - from[1]) * METRES_PER_DEGREE];
}

/** A difference of longitudes the short way. */
function wrap(difference: number): number {
  return difference - 360 * Math.round(difference / 360);
}
