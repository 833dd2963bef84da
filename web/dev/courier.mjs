// A simulated courier for the development mock: drives a route and says what a server would say about it.

const METRES_PER_DEGREE = 111_195;
const SPEED_MPS = 9;
const EVERY_MS = 2_000;
const TICKS_PER_MOOD = 5;
/** A jam, an empty street and so on in turn, so that every cause of a change comes up. */
const MOODS = [
  { cause: null, later_ms: 0 },
  { cause: 'traffic', later_ms: 240_000 },
  { cause: 'traffic', later_ms: 0 },
  { cause: 'detour', later_ms: 180_000 },
  { cause: 'waiting', later_ms: 360_000 },
];

/** Drives `route` ([lon, lat] points) and publishes to the trip's topic; from the start again when it is there. */
export class MockCourier {
  #server;
  #topic;
  #route;
  #lengths;
  #done_m = 0;
  #timer;
  #ticks = 0;

  constructor(server, topic, route) {
    this.#server = server;
    this.#topic = topic;
    this.#route = route;
    this.#lengths = route.slice(1).map((point, at) => metres(route[at], point));
  }

  get length_m() {
    return this.#lengths.reduce((sum, length) => sum + length, 0);
  }

  start(share = 0) {
    this.#done_m = this.length_m * share;
    this.#tellRoute();
    this.#timer = setInterval(() => this.#drive(), EVERY_MS);
    this.#drive();
  }

  stop() {
    clearInterval(this.#timer);
  }

  #drive() {
    const before_m = this.#done_m;
    this.#done_m = (before_m + (SPEED_MPS * EVERY_MS) / 1000) % this.length_m;
    if (this.#done_m < before_m) this.#tellRoute();
    const { lon, lat, heading_deg } = this.#at(this.#done_m);
    this.#server.publish(this.#topic, {
      position: { lat, lon, heading_deg, speed_mps: SPEED_MPS, accuracy_m: 6, t_ms: Date.now() - 400 },
      ...(this.#ticks % TICKS_PER_MOOD === 0 && { eta: this.#eta(MOODS[(this.#ticks / TICKS_PER_MOOD) % MOODS.length]) }),
    });
    this.#ticks += 1;
  }

  /** Told now and then only: whoever watches counts down. */
  #eta({ cause, later_ms }) {
    const left_m = Math.round(this.length_m - this.#done_m);
    const at_ms = Math.floor((Date.now() + (left_m / SPEED_MPS) * 2_000 + later_ms) / 1000) * 1000;
    return { at_ms, low_ms: at_ms - 150_000, high_ms: at_ms + 270_000, pickup_at_ms: null, distance_m: left_m, basis: 'roads_live', cause };
  }

  /** As a server does: from where the courier is, once. */
  #tellRoute() {
    const { lon, lat } = this.#at(this.#done_m);
    let leg_ends_m = 0;
    const rest = this.#route.slice(1).filter((_, leg) => (leg_ends_m += this.#lengths[leg]) > this.#done_m);
    const length_m = Math.round(this.length_m - this.#done_m);
    this.#server.publish(this.#topic, { route: { polyline6: encode([[lon, lat], ...rest]), length_m } });
  }

  #at(way_m) {
    let left_m = way_m;
    for (let leg = 0; leg < this.#lengths.length; leg += 1) {
      if (left_m <= this.#lengths[leg] || leg === this.#lengths.length - 1) {
        const share = Math.min(1, left_m / this.#lengths[leg]);
        const [from, to] = [this.#route[leg], this.#route[leg + 1]];
        const lon = from[0] + (to[0] - from[0]) * share;
        const lat = from[1] + (to[1] - from[1]) * share;
        const east = (to[0] - from[0]) * Math.cos((lat * Math.PI) / 180);
        const heading_deg = (Math.round((Math.atan2(east, to[1] - from[1]) * 180) / Math.PI) + 360) % 360;
        return { lon: Math.round(lon * 1e6) / 1e6, lat: Math.round(lat * 1e6) / 1e6, heading_deg };
      }
      left_m -= this.#lengths[leg];
    }
    throw new Error('a route has two points at least');
  }
}

function metres([lonA, latA], [lonB, latB]) {
  const east = (lonB - lonA) * Math.cos((((latA + latB) / 2) * Math.PI) / 180);
  return Math.hypot(east, latB - latA) * METRES_PER_DEGREE;
}

/** An encoded polyline with six decimals of [lon, lat] points. */
function encode(points) {
  let [text, before] = ['', [0, 0]];
  for (const [lon, lat] of points) {
    const now = [Math.round(lat * 1e6), Math.round(lon * 1e6)];
    now.forEach((degrees, axis) => {
      const difference = degrees - before[axis];
      let rest = difference < 0 ? -2 * difference - 1 : 2 * difference;
      for (; rest >= 32; rest = Math.floor(rest / 32)) text += String.fromCharCode((rest % 32) + 95);
      text += String.fromCharCode(rest + 63);
    });
    before = now;
  }
  return text;
}
