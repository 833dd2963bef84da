import { Wayfare, type Status, type TripState, type WayfareError } from '@wayfare/client';
import { byId, setText, showText } from '../shared/dom.js';
import { Announcements } from './announcements.js';
import { ArrivalMove } from './arrival-move.js';
import { readLink, type TrackLink } from './link.js';
import { fetchBackground } from './map/background.js';
import type { TripMap } from './map/trip-map.js';
import { Panel } from './panel.js';
import { problemText } from './texts.js';
import { badgeView, clockFormat, tripView } from './view.js';

/** Countdown and ages go on by themselves between two messages. */
const TICK_MS = 1_000;

/** The page of one trip: messages come in, the panel and the map are written. */
class TrackPage {
  readonly #panel = new Panel();
  readonly #announcements = new Announcements();
  readonly #arrivalMove = new ArrivalMove();
  readonly #clock = clockFormat();
  readonly #wayfare: Wayfare;
  #trip: TripState | undefined;
  #map: TripMap | undefined;
  /** Opens the map; known once its parts are loaded, and used once. */
  #openMap: (() => TripMap) | undefined;
  #over = false;

  constructor(link: TrackLink) {
    this.#wayfare = new Wayfare({ url: location.origin, token: link.token });
    this.#wayfare.watch<TripState>(link.topic, {
      onState: (trip) => this.#show(trip),
      onEnd: (trip) => this.#end(trip),
      onError: (error) => this.#fail(error),
      onStatus: (status) => this.#status(status),
    });
    this.#status(this.#wayfare.status);
    setInterval(() => this.#tick(), TICK_MS);
    addEventListener('online', () => this.#wayfare.wake());
    document.addEventListener('visibilitychange', () => document.hidden || this.#wayfare.wake());
    byId('recentre').addEventListener('click', () => this.#map?.recentre());
    void this.#loadMap();
  }

  #show(trip: TripState): void {
    this.#trip = trip;
    this.#tick();
    this.#showMap();
  }

  /** Waits for the trip as well as for the map: without a trip there is no place to look at. */
  #showMap(): void {
    if (!this.#trip || this.#over) return;
    try {
      this.#map ??= this.#openMap?.();
      this.#openMap = undefined;
      this.#map?.show(this.#trip, this.#wayfare.serverClock.difference_ms);
    } catch (cause) {
      this.#noMap(cause);
    }
  }

  #noMap(cause: unknown): void {
    console.warn('no map here, the text has to do:', cause);
    document.body.dataset['map'] = 'off';
    this.#openMap = undefined;
  }

  #end(trip: TripState): void {
    // Who comes late is told the end without the rest; the names are still known from before.
    this.#trip = { pickup: this.#trip?.pickup, dropoff: this.#trip?.dropoff, driver: this.#trip?.driver, ...trip };
    this.#finish();
    this.#tick();
  }

  #fail(error: WayfareError): void {
    const text = problemText(error.code, error.message);
    this.#finish();
    this.#panel.problem(text);
    setText(byId('announcer'), text.headline);
    this.#trip = undefined;
  }

  #finish(): void {
    this.#over = true;
    this.#map?.remove();
    this.#map = undefined;
  }

  #tick(): void {
    if (!this.#trip) return;
    const now_ms = this.#wayfare.serverClock.now();
    const view = tripView(this.#trip, now_ms, this.#clock, this.#arrivalMove.after(this.#trip));
    this.#panel.show(view);
    const news = this.#announcements.next(view, now_ms);
    if (news !== undefined) setText(byId('announcer'), news);
  }

  #status(status: Status): void {
    if (!this.#over) this.#panel.badge(badgeView(status), status.transport);
  }

  /** The map is big and may fail; the panel waits for neither. */
  async #loadMap(): Promise<void> {
    try {
      const [{ TripMap }, background] = await Promise.all([
        import('./map/trip-map.js'),
        fetchBackground((t_ms) => this.#wayfare.serverClock.observe(t_ms)),
      ]);
      showText(byId('attribution'), background.attribution);
      this.#openMap = () =>
        new TripMap({
          container: byId('map'),
          background,
          onFree: (free) => (byId('recentre').hidden = !free),
          onReady: () => (document.body.dataset['map'] = 'ready'),
        });
      this.#showMap();
    } catch (cause) {
      this.#noMap(cause);
    }
  }
}

const link = readLink(location.hash);
if (link) new TrackPage(link);
else new Panel().problem(problemText('client_no_link', ''));
// Another link pasted into the same tab changes only the fragment, which does not load the page anew.
addEventListener('hashchange', () => location.reload());
