import { LngLatBounds, type Map as MapLibre, type PaddingOptions } from 'maplibre-gl';

type Point = [number, number];

/** Room for pins and their labels, which stand above their places. */
const PADDING: PaddingOptions = { top: 84, right: 92, bottom: 52, left: 92 };
const MARGIN_PX = 36;
const CLOSEST_ZOOM = 16.5;
/** What is looked at has shrunk to this share of the view: come closer. */
const TOO_SMALL = 0.35;

/** Keeps what matters in view by itself, until the reader moves the map; then only on request. */
export class Camera {
  readonly #map: MapLibre;
  readonly #onFree: (free: boolean) => void;
  #points: Point[] = [];
  #free = false;
  #moving = false;

  constructor(map: MapLibre, onFree: (free: boolean) => void) {
    this.#map = map;
    this.#onFree = onFree;
    const free = (event: { originalEvent?: unknown }) => {
      if (event.originalEvent) this.#setFree(true);
    };
    map.on('dragstart', free);
    map.on('zoomstart', free);
    map.on('moveend', () => (this.#moving = false));
    map.on('resize', () => this.#fit(0));
  }

  /** What should be in view from now on. `anew`: something else than before matters. */
  lookAt(points: Point[], anew: boolean): void {
    const first = this.#points.length === 0;
    this.#points = points;
    if (anew || this.#needsFit()) this.#fit(first ? 0 : 900);
  }

  recentre(): void {
    this.#setFree(false);
    this.#fit(700);
  }

  #setFree(free: boolean): void {
    if (free !== this.#free) this.#onFree(free);
    this.#free = free;
  }

  #needsFit(): boolean {
    if (this.#free || this.#moving || this.#points.length === 0) return false;
    const { clientWidth: width, clientHeight: height } = this.#map.getContainer();
    const projected = this.#points.map((point) => this.#map.project(point));
    const xs = projected.map(({ x }) => x);
    const ys = projected.map(({ y }) => y);
    const [left, right, top, bottom] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
    const outside = left < MARGIN_PX || top < MARGIN_PX || right > width - MARGIN_PX || bottom > height - MARGIN_PX;
    const small = Math.max((right - left) / width, (bottom - top) / height) < TOO_SMALL * this.#share();
    return outside || (small && this.#points.length > 1 && this.#map.getZoom() < CLOSEST_ZOOM - 0.3);
  }

  /** How much of the view the padding leaves. */
  #share(): number {
    const { clientWidth: width, clientHeight: height } = this.#map.getContainer();
    return Math.max(0.2, Math.min((width - 184) / width, (height - 136) / height));
  }

  #fit(duration: number): void {
    if (this.#free || this.#points.length === 0) return;
    const bounds = this.#points.reduce((all, point) => all.extend(point), new LngLatBounds());
    this.#moving = duration > 0;
    // Not `essential`: the library jumps for those who asked for less motion.
    this.#map.fitBounds(bounds, { padding: PADDING, maxZoom: CLOSEST_ZOOM, duration });
  }
}
