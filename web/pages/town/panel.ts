import type { DriverState, Status } from '@wayfare/client';
import { byId, make, setText, showText } from '../shared/dom.js';
import { badgeView } from '../track/view.js';
import type { FeedName, FeedState } from './feeds.js';
import { ageText, batteryText, isOld, outageText, speedText, STATUS, vehicleText } from './texts.js';
import type { Courier } from './townsfolk.js';

/** Couriers in the list; more are a matter for the map. */
const LIST_MAX = 40;

const NOTES: Record<FeedState, string> = { shown: '', off: '', absent: 'not on this server', failed: 'not answered just now' };

/** The text beside the map. */
export class TownPanel {
  readonly #onChoose: (id: string) => void;
  readonly #items = new Map<string, HTMLButtonElement>();

  constructor(onChoose: (id: string) => void) {
    this.#onChoose = onChoose;
  }

  status(status: Status): void {
    const view = badgeView(status);
    const badge = byId('badge');
    badge.hidden = view === undefined;
    if (!view) return;
    badge.dataset['status'] = view.state;
    badge.dataset['transport'] = status.transport ?? '';
    setText(byId('badge-label'), view.label);
  }

  open(): void {
    byId('door').hidden = true;
    byId('layers').hidden = false;
  }

  /** Asks for a token. */
  askForToken(problem: string | undefined, onToken: (token: string) => void): void {
    const door = byId<HTMLFormElement>('door');
    const input = byId<HTMLInputElement>('token');
    door.hidden = false;
    byId('layers').hidden = true;
    byId('near').hidden = true;
    byId('chosen').hidden = true;
    showText(byId('door-problem'), problem);
    setText(byId('summary'), 'All couriers, for staff only.');
    input.focus();
    door.onsubmit = (event) => {
      event.preventDefault();
      const token = input.value.trim();
      input.value = '';
      if (token) onToken(token);
    };
  }

  summary(text: string): void {
    setText(byId('summary'), text);
  }

  feed(name: FeedName, state: FeedState): void {
    setText(byId(`note-${name}`), NOTES[state]);
    byId<HTMLInputElement>(`layer-${name}`).disabled = state === 'absent';
  }

  /** Couriers in view, those free first, then by id, so that nobody jumps about in the list. */
  list(couriers: readonly Courier[], chosen: string | undefined, now_ms: number): void {
    byId('near').hidden = couriers.length === 0;
    const order = ['available', 'busy', 'finishing'];
    const sorted = [...couriers].sort((a, b) => order.indexOf(a.status) - order.indexOf(b.status) || (a.id < b.id ? -1 : 1));
    const shown = sorted.slice(0, LIST_MAX);
    const rows = shown.map((courier) => this.#row(courier, courier.id === chosen, now_ms));
    const list = byId('list');
    // Elements are kept where they are, so that the one with the focus keeps it.
    if (rows.some((row, at) => list.children[at] !== row) || list.children.length !== rows.length) list.replaceChildren(...rows);
    for (const id of this.#items.keys()) if (!shown.some((courier) => courier.id === id)) this.#items.delete(id);
    const more = couriers.length - shown.length;
    showText(byId('list-more'), more > 0 ? `and ${more} more` : undefined);
  }

  choose(courier: Courier | undefined, name: string | undefined, driver: DriverState, now_ms: number): void {
    const card = byId('chosen');
    card.hidden = courier === undefined;
    if (!courier) return;
    const facts: [string, string][] = [
      ['Vehicle', vehicleText(courier)],
      ['Status', STATUS[courier.status] ?? String(courier.status)],
      ['Speed', speedText(courier)],
      ['Position', ageText(courier, now_ms)],
      ...(typeof courier.capacity === 'number' ? [['Capacity', String(courier.capacity)] as [string, string]] : []),
      ...told('Battery', batteryText(driver)),
      ...told('No position', outageText(driver, now_ms)),
      ['Id', courier.id],
    ];
    card.dataset['id'] = courier.id;
    const rows = facts.flatMap(([term, value]) => [make('dt', {}, term), make('dd', {}, value)]);
    card.replaceChildren(make('h2', {}, name ?? 'Courier'), make('dl', {}, ...rows));
  }

  #row(courier: Courier, chosen: boolean, now_ms: number): HTMLElement {
    let button = this.#items.get(courier.id);
    if (!button) {
      button = make('button', { type: 'button' }, make('span', { class: 'who' }), make('span', { class: 'what' }));
      button.addEventListener('click', () => this.#onChoose(courier.id));
      make('li', {}, button);
      this.#items.set(courier.id, button);
    }
    button.dataset['colour'] = isOld(courier, now_ms) ? 'old' : courier.status;
    button.setAttribute('aria-pressed', String(chosen));
    const [who, what] = button.children as unknown as [HTMLElement, HTMLElement];
    setText(who, `${vehicleText(courier)} · ${courier.id.slice(-6)}`);
    setText(what, `${STATUS[courier.status] ?? courier.status}, ${speedText(courier)}, ${ageText(courier, now_ms)}`);
    return button.parentElement as HTMLElement;
  }
}

function told(term: string, value: string | undefined): [string, string][] {
  return value === undefined ? [] : [[term, value]];
}
