import { Wayfare } from '@wayfare/client';
import { byId, make, setText, showText } from '../shared/dom.js';
import { badgeView } from '../track/view.js';
import { Dish } from './dish.js';
import { HouseApi, Refusal, type Cause } from './house.js';
import { ITEM, readLink, writeLink, type MenuLink } from './link.js';
import type { Surroundings } from './picture-upload.js';
import { Shelf } from './shelf.js';
import { causeText, doorText } from './texts.js';
import { Turns } from './turns.js';

/** Files that send at once. */
const AT_ONCE = 2;

interface StoreEvent {
  readonly kind?: string;
  readonly item?: string;
}

/** The page of a store's pictures. */
class MenuPage {
  readonly #api: HouseApi;
  readonly #wayfare: Wayfare;
  readonly #around: Surroundings;
  readonly #dishes = new Map<string, Dish>();
  readonly #shelf: Shelf;

  constructor({ token, store, items }: MenuLink, api: HouseApi, bytesMax: number | undefined) {
    this.#api = api;
    this.#wayfare = new Wayfare({ url: location.origin, token });
    this.#around = { api, wayfare: this.#wayfare, turns: new Turns(AT_ONCE), bytesMax };
    this.#wayfare.onStatus((status) => {
      const badge = badgeView(status);
      byId('badge').hidden = badge === undefined;
      byId('badge').dataset['status'] = badge?.state ?? '';
      byId('badge').dataset['transport'] = status.transport ?? '';
      setText(byId('badge-label'), badge?.label ?? '');
    });
    this.#shelf = new Shelf(byId('shelf'), api, this.#dishes, (item) => this.#open(item));
    // Another tablet's pictures come in here too.
    this.#wayfare.follow<StoreEvent>(`store:${store}`, {
      onEvent: ({ kind, item }) => {
        if (kind !== 'picture' || item === undefined) return;
        this.#dishes.get(item)?.refresh();
        this.#shelf.refreshSoon();
      },
      onReset: () => {
        this.#dishes.forEach((dish) => dish.refresh());
        this.#shelf.refreshSoon();
      },
    });
    for (const item of items) this.#show(item);
    this.#openForm();
    void this.#shelf.refresh();
    addEventListener('online', () => this.#wake());
    document.addEventListener('visibilitychange', () => document.hidden || this.#wake());
    addEventListener('beforeunload', (event) => [...this.#dishes.values()].some((dish) => dish.isSending) && event.preventDefault());
    // A file that misses its dish must not replace the page.
    for (const kind of ['dragover', 'drop']) addEventListener(kind, (event) => event.preventDefault());
    document.body.dataset['state'] = 'open';
  }

  #openForm(): void {
    const form = byId<HTMLFormElement>('add');
    const input = byId<HTMLInputElement>('item');
    form.hidden = false;
    form.onsubmit = (event) => {
      event.preventDefault();
      const item = input.value.trim();
      const fits = ITEM.test(item);
      input.setAttribute('aria-invalid', String(!fits));
      showText(byId('item-problem'), fits ? undefined : 'That is no name of a dish: 1 to 64 letters, digits, dots, dashes and underscores.');
      if (!fits) return;
      input.value = '';
      this.#open(item);
    };
  }

  #open(item: string): void {
    const dish = this.#show(item);
    dish.element.scrollIntoView({ block: 'nearest' });
    dish.element.querySelector<HTMLElement>('input[type=file]')?.focus();
  }

  #show(item: string): Dish {
    const known = this.#dishes.get(item);
    if (known) return known;
    const dish = new Dish(item, this.#around, say, () => this.#hide(dish));
    this.#dishes.set(item, dish);
    byId('dishes').append(dish.element);
    this.#shelf.draw();
    this.#keep();
    return dish;
  }

  #hide(dish: Dish): void {
    if (dish.isBusy) return say(`${dish.item}: pictures are still on their way.`);
    this.#dishes.delete(dish.item);
    dish.element.remove();
    byId('item').focus();
    // What was done to its pictures meanwhile is seen there.
    void this.#shelf.refresh();
    this.#keep();
  }

  /** The link names the dishes that are shown: a reload, or a bookmark, shows the same. */
  #keep(): void {
    const { token, store } = this.#api;
    history.replaceState(null, '', writeLink({ token, store, items: [...this.#dishes.keys()] }));
  }

  #wake(): void {
    this.#wayfare.wake();
    for (const dish of this.#dishes.values()) dish.wake();
  }
}

/** For screen readers. A new line each time, so that the same sentence is said again. */
function say(text: string): void {
  byId('announcer').replaceChildren(make('span', {}, text));
}

/** Asks for a token; the page then begins afresh. */
function askForToken(problem: string | undefined): void {
  const door = byId<HTMLFormElement>('door');
  const token = byId<HTMLInputElement>('token');
  document.body.dataset['state'] = 'door';
  door.hidden = false;
  showText(byId('door-problem'), problem);
  setText(byId('store'), 'For restaurants: photographs to the dishes of a menu.');
  token.focus();
  door.onsubmit = (event) => {
    event.preventDefault();
    const link = { token: token.value.trim(), store: byId<HTMLInputElement>('store-id').value.trim(), items: [] };
    token.value = '';
    history.replaceState(null, '', writeLink(link));
    location.reload();
  };
}

async function open(): Promise<void> {
  const link = readLink(location.hash);
  if (!link) return askForToken(undefined);
  if (!link.store) return askForToken('That token is of no store: please name the store as well.');
  const api = new HouseApi(link.token, link.store);
  try {
    setText(byId('store'), await api.nameOfStore());
    document.title = `${byId('store').textContent} · Wayfare`;
  } catch (cause) {
    const refusal: Cause = cause instanceof Refusal ? cause : { code: 'client_fault', message: String(cause) };
    if (!(cause instanceof Refusal) || !cause.retry) return askForToken(doorText(refusal));
    setText(byId('store'), `${causeText(refusal)} Trying again.`);
    setTimeout(() => void open(), 3_000);
    return;
  }
  new MenuPage(link, api, await api.bytesMax());
}

void open();
addEventListener('hashchange', () => location.reload());
