import type { View } from './cells.js';

const REFRESH_MS = { traffic: 30_000, fences: 60_000 };
/** The reader has stopped moving the map. */
const SETTLE_MS = 300;

export type FeedName = keyof typeof REFRESH_MS;

/** `absent`: this server has none. `far`: the view is too wide to be answered. */
export type FeedState = 'shown' | 'absent' | 'off' | 'failed';

export interface FeedHost {
  token(): string;
  onData(name: FeedName, data: GeoJSON.FeatureCollection): void;
  onState(name: FeedName, state: FeedState): void;
}

const NOTHING: GeoJSON.FeatureCollection = { type: 'FeatureCollection', features: [] };

/** Traffic or fences of what is in view: asked for when the map rests, and again from time to time. */
export class Feed {
  readonly #name: FeedName;
  readonly #host: FeedHost;
  #view: View | undefined;
  #on = true;
  #absent = false;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #asked = new AbortController();

  constructor(name: FeedName, host: FeedHost) {
    this.#name = name;
    this.#host = host;
  }

  look(view: View): void {
    this.#view = view;
    this.#askIn(SETTLE_MS);
  }

  turn(on: boolean): void {
    this.#on = on;
    this.#asked.abort();
    if (on) this.#askIn(0);
    else {
      clearTimeout(this.#timer);
      this.#host.onData(this.#name, NOTHING);
      this.#host.onState(this.#name, 'off');
    }
  }

  #askIn(delay_ms: number): void {
    if (!this.#on || this.#absent) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.#ask(), delay_ms);
  }

  async #ask(): Promise<void> {
    this.#asked.abort();
    this.#asked = new AbortController();
    const { signal } = this.#asked;
    if (!this.#view) return;
    const boxes = requestBoxes(this.#view);
    try {
      const answers = await Promise.all(boxes.map((bbox) => this.#fetch(bbox, signal)));
      if (signal.aborted) return;
      if (answers.some((answer) => answer === 'absent')) {
        // Not asked again: what a server has does not change while it runs.
        this.#absent = true;
        this.#host.onData(this.#name, NOTHING);
        return this.#host.onState(this.#name, 'absent');
      }
      const features = answers.flatMap((answer) => (answer === 'absent' ? [] : answer));
      this.#host.onData(this.#name, { type: 'FeatureCollection', features });
      this.#host.onState(this.#name, 'shown');
    } catch (cause) {
      if (signal.aborted) return;
      console.warn(`${this.#name}:`, cause);
      this.#host.onState(this.#name, 'failed');
    }
    this.#askIn(REFRESH_MS[this.#name]);
  }

  async #fetch(bbox: string, signal: AbortSignal): Promise<GeoJSON.Feature[] | 'absent'> {
    const headers = { authorization: `Bearer ${this.#host.token()}` };
    const response = await fetch(`/v1/${this.#name}?bbox=${bbox}`, { headers, signal });
    if (response.status === 404) return 'absent';
    if (!response.ok) throw new Error(`answered ${response.status}`);
    const body = (await response.json()) as { features?: unknown };
    return Array.isArray(body.features) ? (body.features as GeoJSON.Feature[]) : [];
  }
}

/** `w,s,e,n` with longitudes of one turn; two boxes where the view crosses the antimeridian. */
export function requestBoxes({ south, west, north, east }: View): string[] {
  const text = (w: number, e: number) => [w, Math.max(-90, south), e, Math.min(90, north)].map((deg) => deg.toFixed(5)).join(',');
  if (east - west >= 360) return [text(-180, 180)];
  const turns = Math.floor((west + 180) / 360) * 360;
  const [from, to] = [west - turns, east - turns];
  return to <= 180 ? [text(from, to)] : [text(from, 180), text(-180, to - 360)];
}
