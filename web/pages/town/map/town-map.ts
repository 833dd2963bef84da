import 'maplibre-gl/dist/maplibre-gl.css';
import { LngLatBounds, Map as MapLibre, setWorkerUrl, type GeoJSONSource, type MapMouseEvent } from 'maplibre-gl';
import workerUrl from 'maplibre-gl/dist/maplibre-gl-worker.mjs?url';
import type { Background } from '../../track/map/background.js';
import { townStyle } from '../../track/map/style.js';
import type { View } from '../cells.js';
import { courierIcon, numberIcon, PIXEL_RATIO } from './icons.js';
import { SOURCES, townLayers, type SourceName } from './layers.js';
import { readPalette } from './palette.js';

setWorkerUrl(workerUrl);

const NOTHING: GeoJSON.FeatureCollection = { type: 'FeatureCollection', features: [] };
/** A finger is not a pointer. */
const TOUCH_PX = 12;

export interface TownMapOptions {
  readonly container: HTMLElement;
  readonly background: Background;
  /** The map rests with this in view. */
  onView(view: View): void;
  onReady(): void;
  /** A courier was clicked, or nobody. */
  onChoose(id: string | undefined): void;
}

/** The map of all couriers: moved, zoomed, by pointer, fingers and keys. Its constructor throws where there is no WebGL. */
export class TownMap {
  readonly #map: MapLibre;
  readonly #background: Background;
  readonly #data: Record<SourceName, GeoJSON.FeatureCollection> = { fences: NOTHING, traffic: NOTHING, numbers: NOTHING, couriers: NOTHING };

  constructor({ container, background, onView, onReady, onChoose }: TownMapOptions) {
    this.#background = background;
    const dark = matchMedia('(prefers-color-scheme: dark)');
    this.#map = new MapLibre({
      container,
      style: this.#style(dark.matches),
      center: [0, 30],
      zoom: 4,
      minZoom: 4,
      maxZoom: 18.5,
      dragRotate: false,
      pitchWithRotate: false,
      touchPitch: false,
      attributionControl: false,
    });
    this.#map.touchZoomRotate.disableRotation();
    this.#map.keyboard.disableRotation();
    this.#map.getCanvas().setAttribute('aria-label', 'Map of all couriers: arrow keys move it, plus and minus zoom');
    this.#map.setMissingStyleImageResolver(async (id) => this.#drawIcon(id));
    this.#map.on('style.load', () => {
      this.#furnish();
      onReady();
    });
    this.#map.on('moveend', () => onView(this.view));
    this.#map.on('resize', () => onView(this.view));
    this.#map.on('click', (event) => this.#click(event, onChoose));
    for (const layer of ['couriers', 'numbers']) {
      this.#map.on('mouseenter', layer, () => (this.#map.getCanvas().style.cursor = 'pointer'));
      this.#map.on('mouseleave', layer, () => (this.#map.getCanvas().style.cursor = ''));
    }
    this.#map.on('error', ({ error }) => this.#styleFailed(error, dark.matches));
    dark.addEventListener('change', () => this.#map.setStyle(this.#style(dark.matches), { diff: false }));
    const streets = boundsOf(background.streets);
    if (streets) this.#map.fitBounds(streets, { padding: 40, animate: false });
  }

  get view(): View {
    const bounds = this.#map.getBounds();
    return { south: bounds.getSouth(), west: bounds.getWest(), north: bounds.getNorth(), east: bounds.getEast() };
  }

  /** Whether it already looks at some town. */
  get hasStreets(): boolean {
    return this.#background.streets.features.length > 0;
  }

  show(name: SourceName, data: GeoJSON.FeatureCollection): void {
    this.#data[name] = data;
    this.#map.getSource<GeoJSONSource>(name)?.setData(data);
  }

  zoomBy(steps: number): void {
    this.#map.zoomTo(this.#map.getZoom() + steps, { duration: 250 });
  }

  goTo(lat: number, lon: number, zoom?: number): void {
    this.#map.easeTo({ center: [lon, lat], zoom: Math.max(zoom ?? 0, this.#map.getZoom()), duration: 500 });
  }

  fit(points: readonly { lat: number; lon: number }[]): void {
    const bounds = points.reduce((all, { lat, lon }) => all.extend([lon, lat]), new LngLatBounds());
    if (!bounds.isEmpty()) this.#map.fitBounds(bounds, { padding: 60, maxZoom: 14, animate: false });
  }

  #style(dark: boolean) {
    return this.#background.basemapStyleUrl ?? townStyle(this.#background.streets, dark);
  }

  /** Puts our sources, layers and icons onto a new background. */
  #furnish(): void {
    const palette = readPalette();
    for (const name of SOURCES) {
      if (!this.#map.getSource(name)) this.#map.addSource(name, { type: 'geojson', data: this.#data[name] });
    }
    for (const layer of townLayers(palette)) if (!this.#map.getLayer(layer.id)) this.#map.addLayer(layer);
  }

  /** Icons are made when they are first needed; there are not many different ones. */
  #drawIcon(id: string): void {
    const palette = readPalette();
    const [kind, ...rest] = id.split('-');
    if (kind === 'number') this.#map.addImage(id, numberIcon(rest.join('-'), palette), { pixelRatio: PIXEL_RATIO });
    if (kind !== 'courier') return;
    const colours: Record<string, string> = { available: palette.available, busy: palette.busy };
    const icon = courierIcon(colours[rest[0] ?? ''] ?? palette.finishing, palette.rim, rest[1] === 'pointed');
    this.#map.addImage(id, icon, { pixelRatio: PIXEL_RATIO });
  }

  #click({ point, lngLat }: MapMouseEvent, onChoose: (id: string | undefined) => void): void {
    const around: [[number, number], [number, number]] = [
      [point.x - TOUCH_PX, point.y - TOUCH_PX],
      [point.x + TOUCH_PX, point.y + TOUCH_PX],
    ];
    const hits = this.#map.queryRenderedFeatures(around, { layers: ['couriers', 'numbers'] });
    const near = hits.find(({ layer }) => layer.id === 'couriers');
    if (near) return onChoose(String(near.properties['id']));
    // A number opens into what it stands for.
    if (hits.length > 0) return this.goTo(lngLat.lat, lngLat.lng, this.#map.getZoom() + 2);
    onChoose(undefined);
  }

  #styleFailed(error: unknown, dark: boolean): void {
    if (this.#background.basemapStyleUrl === undefined || this.#map.isStyleLoaded()) return;
    console.warn('the basemap could not be loaded', error);
    this.#map.setStyle(townStyle(this.#background.streets, dark), { diff: false });
  }
}

/** The box around all streets. */
function boundsOf(streets: GeoJSON.FeatureCollection): LngLatBounds | undefined {
  const bounds = new LngLatBounds();
  for (const { geometry, properties } of streets.features) {
    // Water runs out of the town.
    if (geometry?.type === 'LineString' && properties?.['kind'] !== 'water') {
      for (const [lon, lat] of geometry.coordinates) if (lon !== undefined && lat !== undefined) bounds.extend([lon, lat]);
    }
  }
  return bounds.isEmpty() ? undefined : bounds;
}
