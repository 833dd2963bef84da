import { beginMotion, continueMotion, isSettled, placeAt, type Line, type Motion, type Position } from '@wayfare/client';
import type { Map as MapLibre, Marker } from 'maplibre-gl';

/** Moves the courier's marker from frame to frame between two messages, and rests when there is nothing to move. */
export class Courier {
  readonly #map: MapLibre;
  readonly #marker: Marker;
  readonly #still: MediaQueryList;
  readonly #onMove: () => void;
  #motion: Motion | undefined;
  #t_ms: number | undefined;
  #line: Line | undefined;
  #frame: number | undefined;

  constructor(map: MapLibre, marker: Marker, still: MediaQueryList, onMove: () => void) {
    this.#map = map;
    this.#marker = marker;
    this.#still = still;
    this.#onMove = onMove;
  }

  get isShown(): boolean {
    return this.#motion !== undefined;
  }

  get lngLat(): [number, number] | undefined {
    if (!this.#motion) return undefined;
    const { lng, lat } = this.#marker.getLngLat();
    return [lng, lat];
  }

  /** `line`: the way to the next stop. `difference_ms`: how much this clock is ahead of the server's, which stamped the position. */
  show(position: Position | undefined, line: Line | undefined, difference_ms: number): void {
    if (!position) return this.#hide();
    if (position.t_ms === this.#t_ms && line === this.#line) return;
    [this.#t_ms, this.#line] = [position.t_ms, line];
    const now_ms = Date.now();
    // On the local clock from here on: a better idea of the server's clock must not shift what is already drawn.
    const sample = { ...position, t_ms: position.t_ms + difference_ms };
    const first = this.#motion === undefined;
    this.#motion = this.#motion ? continueMotion(this.#motion, sample, now_ms, line) : beginMotion(sample, now_ms, line);
    this.#draw();
    if (first) this.#marker.addTo(this.#map);
    this.#run();
  }

  tone(tone: string): void {
    this.#marker.getElement().dataset['tone'] = tone;
  }

  #run(): void {
    if (this.#still.matches || this.#frame !== undefined) return;
    const step = () => {
      this.#frame = undefined;
      if (!this.#motion) return;
      this.#draw();
      if (!isSettled(this.#motion, Date.now())) this.#frame = requestAnimationFrame(step);
    };
    this.#frame = requestAnimationFrame(step);
  }

  #draw(): void {
    if (!this.#motion) return;
    // Who asked for less motion sees the reported places, one after the other.
    const place = this.#still.matches ? { ...this.#motion.sample, heading_deg: this.#motion.heading_deg } : placeAt(this.#motion, Date.now());
    this.#marker.setLngLat([place.lon, place.lat]);
    this.#marker.setRotation(place.heading_deg ?? 0);
    const { dataset } = this.#marker.getElement();
    dataset['lat'] = place.lat.toFixed(6);
    dataset['lon'] = place.lon.toFixed(6);
    dataset['heading'] = place.heading_deg?.toFixed(0) ?? '';
    this.#onMove();
  }

  #hide(): void {
    this.#motion = undefined;
    this.#t_ms = undefined;
    if (this.#frame !== undefined) cancelAnimationFrame(this.#frame);
    this.#frame = undefined;
    this.#marker.remove();
  }
}
