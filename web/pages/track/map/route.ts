import { decodePolyline6, type TripState } from '@wayfare/client';
import type { GeoJSONSource, LayerSpecification, Map as MapLibre, StyleSpecification } from 'maplibre-gl';
import { unwrapped, wayAhead, type Point, type Way } from './way-ahead.js';

const SOURCE = 'route';
/** The line is drawn anew when the courier went this far: no one sees less under the marker. */
const STEP_M = 2;

/** The line from the courier to the stop. */
export class RouteLine {
  readonly #map: MapLibre;
  #polyline6: string | undefined;
  #way: Way | undefined;
  #drawn_m: number | undefined;
  #points: readonly Point[] = [];

  constructor(map: MapLibre) {
    this.#map = map;
  }

  /** The whole of it, the same object as long as it is the same line. */
  get line(): readonly Point[] | undefined {
    return this.#way?.points;
  }

  show(route: TripState['route'], courier: [number, number] | undefined): void {
    const polyline6 = route?.polyline6;
    if (polyline6 !== this.#polyline6) {
      this.#polyline6 = polyline6;
      const points = polyline6 === undefined ? null : decodePolyline6(polyline6);
      this.#way = points && points.length >= 2 ? { points: unwrapped(points), done_m: 0 } : undefined;
      this.#drawn_m = undefined;
      if (!this.#way) this.#draw([]);
    }
    this.follow(courier);
  }

  /** The courier moved: what is behind goes. */
  follow(courier: [number, number] | undefined): void {
    if (!this.#way) return;
    const { way, points } = courier ? wayAhead(this.#way, courier) : { way: this.#way, points: [...this.#way.points] };
    this.#way = way;
    if (this.#drawn_m !== undefined && Math.abs(way.done_m - this.#drawn_m) < STEP_M) return;
    this.#drawn_m = way.done_m;
    this.#draw(points);
  }

  /** Any style with the line in it, under its labels: ours, the operator's, and the one after a change of light. */
  into(style: StyleSpecification): StyleSpecification {
    const firstLabel = style.layers.findIndex(({ type }) => type === 'symbol');
    const layers = [...style.layers];
    layers.splice(firstLabel < 0 ? layers.length : firstLabel, 0, ...LAYERS);
    return { ...style, sources: { ...style.sources, [SOURCE]: { type: 'geojson', data: feature(this.#points) } }, layers };
  }

  #draw(points: readonly Point[]): void {
    if (points.length === 0 && this.#points.length === 0) return;
    this.#points = points;
    this.#map.getContainer().dataset['routePoints'] = String(points.length);
    // Not there before the style is; the style then takes the points along.
    this.#map.getSource<GeoJSONSource>(SOURCE)?.setData(feature(points));
  }
}

function feature(points: readonly Point[]): GeoJSON.FeatureCollection {
  const features: GeoJSON.Feature[] = points.length < 2 ? [] : [{ type: 'Feature', properties: {}, geometry: { type: 'LineString', coordinates: points.map(([lon, lat]) => [lon, lat]) } }];
  return { type: 'FeatureCollection', features };
}

/** A dark teal on white is seen on light and on dark ground, whosever map it is. */
const LAYERS: LayerSpecification[] = [layer('route-edge', '#ffffff', 8), layer('route', '#0f7a72', 5)];

function layer(id: string, color: string, width_px: number): LayerSpecification {
  return {
    id,
    type: 'line',
    source: SOURCE,
    layout: { 'line-cap': 'round', 'line-join': 'round' },
    paint: { 'line-color': color, 'line-width': width_px, 'line-opacity': 0.92 },
  };
}
