import { Wayfare, type DriverState, type Subscription, type WayfareError } from '@wayfare/client';
import { byId, showText } from '../shared/dom.js';
import { fetchBackground } from '../track/map/background.js';
import { Areas } from './areas.js';
import type { View } from './cells.js';
import { Feed, type FeedName } from './feeds.js';
import { readToken } from './link.js';
import { courierFeatures, numberFeatures } from './map/features.js';
import type { TownMap } from './map/town-map.js';
import { TownPanel } from './panel.js';
import { summaryText } from './texts.js';
import type { Courier } from './townsfolk.js';

/** Couriers are carried on between two messages, as often as their number allows. */
const STEP_MS = { few: 150, many: 1_000 };
const FEW = 300;
/** The panel's ages and speeds. */
const TICK_MS = 1_000;

/** The page of the whole town: areas in view come in, map and panel are written. */
class TownPage {
  readonly #panel = new TownPanel((id) => this.#choose(id, true));
  readonly #still = matchMedia('(prefers-reduced-motion: reduce)');
  readonly #names = new Map<string, string>();
  readonly #feeds: Record<FeedName, Feed>;
  readonly #wayfare: Wayfare;
  readonly #areas: Areas;
  #token: string;
  #map: TownMap | undefined;
  #view: View | undefined;
  #couriers = new Map<string, Courier>();
  #chosen: string | undefined;
  /** The chosen one's own topic, and what it says. */
  #closer: Subscription | undefined;
  #driver: DriverState = {};
  #drawn_ms = 0;
  #stale = true;
  #over = false;

  constructor(token: string) {
    this.#token = token;
    // Only a WebSocket carries as many topics as a screen needs.
    this.#wayfare = new Wayfare({ url: location.origin, token, transports: ['websocket'] });
    this.#areas = new Areas(this.#wayfare, () => (this.#stale = true), (error) => this.#refused(error));
    this.#wayfare.onStatus((status) => this.#over || this.#panel.status(status));
    const host = {
      token: () => this.#token,
      onData: (name: FeedName, data: GeoJSON.FeatureCollection) => this.#map?.show(name, data),
      onState: (name: FeedName, state: Parameters<TownPanel['feed']>[1]) => this.#panel.feed(name, state),
    };
    this.#feeds = { traffic: new Feed('traffic', host), fences: new Feed('fences', host) };
    this.#panel.open();
    for (const name of ['traffic', 'fences'] as const) {
      const box = byId<HTMLInputElement>(`layer-${name}`);
      box.onchange = () => this.#feeds[name].turn(box.checked);
    }
    byId('layer-couriers').onchange = () => this.#draw();
    byId('zoom-in').onclick = () => this.#map?.zoomBy(1);
    byId('zoom-out').onclick = () => this.#map?.zoomBy(-1);
    addEventListener('online', () => this.#wayfare.wake());
    document.addEventListener('visibilitychange', () => document.hidden || this.#wayfare.wake());
    setInterval(() => this.#tick(), TICK_MS);
    const step = () => {
      this.#step();
      requestAnimationFrame(step);
    };
    requestAnimationFrame(step);
    void this.#loadMap();
  }

  get isOver(): boolean {
    return this.#over;
  }

  async #loadMap(): Promise<void> {
    const background = await fetchBackground((t_ms) => this.#wayfare.serverClock.observe(t_ms));
    showText(byId('attribution'), background.attribution);
    try {
      const { TownMap } = await import('./map/town-map.js');
      this.#map = new TownMap({
        container: byId('map'),
        background,
        onView: (view) => this.#look(view),
        onReady: () => (document.body.dataset['map'] = 'ready'),
        onChoose: (id) => this.#choose(id, false),
      });
    } catch (cause) {
      console.warn('no map here, the list has to do:', cause);
      document.body.dataset['map'] = 'off';
      byId('no-map').hidden = false;
    }
    if (!this.#map?.hasStreets) await this.#findTown();
    if (this.#map) this.#look(this.#map.view);
  }

  /** Without streets nobody knows where the town is, apart from its couriers. */
  async #findTown(): Promise<void> {
    const { drivers } = (await this.#ask('/v1/nearby?lat=0&lon=0&k=100')) as { drivers?: { lat: number; lon: number }[] };
    if (!drivers || drivers.length === 0) return;
    this.#map?.fit(drivers);
    const first = drivers[0];
    if (!this.#map && first) this.#look({ south: first.lat - 0.03, north: first.lat + 0.03, west: first.lon - 0.04, east: first.lon + 0.04 });
  }

  #look(view: View): void {
    if (this.#over) return;
    this.#view = view;
    this.#areas.look(view);
    for (const feed of Object.values(this.#feeds)) feed.look(view);
    this.#tick();
  }

  /** Every frame; draws when there is reason to. */
  #step(): void {
    const now_ms = Date.now();
    const pause_ms = this.#couriers.size <= FEW ? STEP_MS.few : STEP_MS.many;
    const moving = !this.#still.matches && this.#areas.shows === 'couriers' && this.#couriers.size > 0;
    if ((!this.#stale && !moving) || now_ms - this.#drawn_ms < pause_ms) return;
    this.#draw();
  }

  #draw(): void {
    this.#drawn_ms = Date.now();
    if (this.#stale) {
      this.#stale = false;
      this.#couriers = this.#areas.shows === 'couriers' ? this.#areas.folk.couriers() : new Map();
    }
    const shown = byId<HTMLInputElement>('layer-couriers').checked;
    const { shows } = this.#areas;
    const now_ms = this.#wayfare.serverClock.now();
    const couriers = shown && shows === 'couriers' ? this.#couriers.values() : [];
    const numbers = shown && shows === 'numbers' ? this.#areas.folk.numbers() : new Map<string, number>();
    this.#map?.show('couriers', courierFeatures(couriers, now_ms, this.#still.matches, this.#chosen));
    this.#map?.show('numbers', numberFeatures(numbers));
    document.body.dataset['shows'] = shows;
    document.body.dataset['couriers'] = String(this.#couriers.size);
    document.body.dataset['numbers'] = String([...numbers.values()].reduce((sum, number) => sum + number, 0));
  }

  #tick(): void {
    if (this.#over || !this.#view) return;
    const now_ms = this.#wayfare.serverClock.now();
    const inView = [...this.#couriers.values()].filter((courier) => isIn(this.#view, courier));
    const total = [...this.#areas.folk.numbers().values()].reduce((sum, number) => sum + number, 0);
    this.#panel.summary(summaryText(this.#areas.shows, inView, total));
    this.#panel.list(this.#areas.shows === 'couriers' ? inView : [], this.#chosen, now_ms);
    const chosen = this.#chosen === undefined ? undefined : this.#couriers.get(this.#chosen);
    this.#panel.choose(chosen, chosen && this.#names.get(chosen.id), this.#driver, now_ms);
  }

  #choose(id: string | undefined, goThere: boolean): void {
    if (id !== this.#chosen) this.#lookCloser(id);
    this.#chosen = id;
    const courier = id === undefined ? undefined : this.#couriers.get(id);
    if (courier && goThere) this.#map?.goTo(courier.lat, courier.lon, 15);
    if (id !== undefined && !this.#names.has(id)) void this.#nameOf(id);
    this.#draw();
    this.#tick();
  }

  /** Battery and outages are not on the map: they stand in the driver's own topic. */
  #lookCloser(id: string | undefined): void {
    this.#closer?.stop();
    this.#driver = {};
    this.#closer =
      id === undefined
        ? undefined
        : this.#wayfare.watch<DriverState>(`driver:${id}`, {
            onState: (state) => {
              this.#driver = state;
              this.#tick();
            },
          });
  }

  async #nameOf(id: string): Promise<void> {
    const { name } = (await this.#ask(`/v1/drivers/${encodeURIComponent(id)}`)) as { name?: unknown };
    if (typeof name !== 'string') return;
    this.#names.set(id, name);
    this.#tick();
  }

  /** What the server answers; an empty object if it does not. */
  async #ask(path: string): Promise<object> {
    try {
      const response = await fetch(path, { headers: { authorization: `Bearer ${this.#token}` } });
      const body: unknown = response.ok ? await response.json() : {};
      return typeof body === 'object' && body !== null ? body : {};
    } catch {
      return {};
    }
  }

  /** A token that may not see the town: ask for another. */
  #refused(error: WayfareError): void {
    if (this.#over || error.code === 'too_many') return;
    this.#over = true;
    this.#wayfare.close();
    byId('badge').hidden = true;
    const text = error.code === 'not_found' ? 'That token is not of the staff.' : `That token was refused: ${error.message}`;
    enter(text);
  }
}

function isIn(view: View | undefined, { lat, lon }: { lat: number; lon: number }): boolean {
  if (!view) return false;
  const from_west = (((lon - view.west) % 360) + 360) % 360;
  return lat >= view.south && lat <= view.north && from_west <= view.east - view.west;
}

/** Asks for a token; a page that was refused is left behind and the new one begins afresh. */
function enter(problem: string | undefined): void {
  new TownPanel(() => {}).askForToken(problem, (token) => {
    // The fragment stays in the browser, and another load of the page is a clean beginning.
    history.replaceState(null, '', `#token=${encodeURIComponent(token)}`);
    location.reload();
  });
}

const token = readToken(location.hash);
if (token) new TownPage(token);
else enter(undefined);
addEventListener('hashchange', () => location.reload());
