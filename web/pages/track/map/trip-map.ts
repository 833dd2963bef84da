import 'maplibre-gl/dist/maplibre-gl.css';
import { Map as MapLibre, Marker, setWorkerUrl, type StyleSpecification } from 'maplibre-gl';
// The worker is a file of its own on our own server; the library would not find it by itself.
import workerUrl from 'maplibre-gl/dist/maplibre-gl-worker.mjs?url';
import type { Place, TripState } from '@wayfare/client';
import type { Background } from './background.js';
import { Camera } from './camera.js';
import { Courier } from './courier.js';
import { RouteLine } from './route.js';
import { courierElement, namePin, pinElement } from './markers.js';
import { townStyle } from './style.js';

setWorkerUrl(workerUrl);

export interface TripMapOptions {
  readonly container: HTMLElement;
  readonly background: Background;
  /** The reader has moved the map away, or it follows by itself again. */
  onFree(free: boolean): void;
  onReady(): void;
}

/** The map of one trip. Its constructor throws where there is no WebGL. */
export class TripMap {
  readonly #map: MapLibre;
  readonly #camera: Camera;
  readonly #courier: Courier;
  readonly #courierElement: HTMLElement;
  readonly #pins = { pickup: newPin('pickup'), dropoff: newPin('dropoff') };
  readonly #background: Background;
  readonly #route: RouteLine;
  #trip: TripState = {};
  #lookedAt = '';

  constructor({ container, background, onFree, onReady }: TripMapOptions) {
    this.#background = background;
    const dark = matchMedia('(prefers-color-scheme: dark)');
    this.#map = new MapLibre({
      container,
      style: this.#style(dark.matches),
      transformStyle: (_, style) => this.#withRoute(style),
      center: [0, 20],
      zoom: 1,
      maxZoom: 18.5,
      // North stays up: a customer looks for their street, not for a view.
      dragRotate: false,
      pitchWithRotate: false,
      touchPitch: false,
      // Attributions are third-party text, and the library would set them as HTML.
      attributionControl: false,
    });
    this.#route = new RouteLine(this.#map);
    this.#map.touchZoomRotate.disableRotation();
    this.#map.keyboard.disableRotation();
    this.#map.on('load', onReady);
    this.#map.on('error', ({ error }) => this.#styleFailed(error, dark.matches));
    dark.addEventListener('change', () => this.#map.setStyle(this.#style(dark.matches)));
    const marker = new Marker({ element: courierElement(), rotationAlignment: 'map', pitchAlignment: 'map' });
    this.#courier = new Courier(this.#map, marker, matchMedia('(prefers-reduced-motion: reduce)'), () => this.#moved());
    this.#courierElement = marker.getElement();
    this.#camera = new Camera(this.#map, onFree);
  }

  show(trip: TripState, difference_ms: number): void {
    this.#trip = trip;
    this.#place('pickup', trip.pickup, 'Pick-up');
    this.#place('dropoff', trip.dropoff, 'You');
    this.#courierElement.setAttribute('aria-label', trip.driver?.name ?? 'Courier');
    this.#route.show(trip.route, this.#courier.lngLat);
    this.#courier.show(trip.position, this.#route.line, difference_ms);
    this.#courier.tone(trip.silent_since_ms === undefined ? '' : 'silent');
    this.#look();
  }

  recentre(): void {
    this.#camera.recentre();
  }

  remove(): void {
    this.#courier.show(undefined, undefined, 0);
    this.#map.remove();
  }

  #withRoute(style: StyleSpecification): StyleSpecification {
    return this.#route.into(style);
  }

  #moved(): void {
    this.#route.follow(this.#courier.lngLat);
    this.#look();
  }

  #style(dark: boolean) {
    return this.#background.basemapStyleUrl ?? townStyle(this.#background.streets, dark);
  }

  /** The operator's own map may not load; plain ground is better than none. */
  #styleFailed(error: unknown, dark: boolean): void {
    if (this.#background.basemapStyleUrl === undefined || this.#map.isStyleLoaded()) return;
    console.warn('the basemap could not be loaded', error);
    this.#map.setStyle(townStyle(this.#background.streets, dark));
  }

  #place(kind: 'pickup' | 'dropoff', place: Place | undefined, fallback: string): void {
    const pin = this.#pins[kind];
    if (!place) return void pin.remove();
    namePin(pin.getElement(), place.name || fallback);
    pin.setLngLat([place.lon, place.lat]).addTo(this.#map);
  }

  /** Before pick-up the two ends; from then on the courier and the door. */
  #look(): void {
    const { pickup, dropoff } = this.#trip;
    const courier = this.#courier.lngLat;
    const from = courier ?? lngLat(pickup);
    const points = [from, lngLat(dropoff)].filter((point): point is [number, number] => point !== undefined);
    const what = `${courier ? 'courier' : 'pickup'} ${dropoff ? 'dropoff' : ''}`;
    const anew = what !== this.#lookedAt;
    this.#lookedAt = what;
    if (points.length > 0) this.#camera.lookAt(points, anew);
  }
}

function newPin(kind: 'pickup' | 'dropoff'): Marker {
  return new Marker({ element: pinElement(kind), anchor: 'bottom', offset: [0, 9] });
}

function lngLat(place: Place | undefined): [number, number] | undefined {
  return place && [place.lon, place.lat];
}
