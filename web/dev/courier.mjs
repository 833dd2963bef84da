// A simulated courier for the development mock: drives a route and says what a server would say about it.

const METRES_PER_DEGREE = 111_195;
const SPEED_MPS = 9;
const EVERY_MS = 2_000;

/** Drives `route` ([lon, lat] points) and publishes to the trip's topic; from the start again when it is there. */
export class MockCourier {
  #server;
  #topic;
  #route;
  #lengths;
  #done_m = 0;
  #timer;

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
    this.#timer = setInterval(() => this.#drive(), EVERY_MS);
    this.#drive();
  }

  stop() {
    clearInterval(this.#timer);
  }

  #drive() {
    this.#done_m = (this.#done_m + (SPEED_MPS * EVERY_MS) / 1000) % this.length_m;
    const { lon, lat, heading_deg } = this.#at(this.#done_m);
    const left_m = Math.round(this.length_m - this.#done_m);
    const at_ms = Math.floor((Date.now() + (left_m / SPEED_MPS) * 2_000) / 1000) * 1000;
    this.#server.publish(this.#topic, {
      position: { lat, lon, heading_deg, speed_mps: SPEED_MPS, accuracy_m: 6, t_ms: Date.now() - 400 },
      eta: { at_ms, low_ms: at_ms - 150_000, high_ms: at_ms + 270_000, pickup_at_ms: null, distance_m: left_m, basis: 'straight_line' },
    });
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
