import { make, setText, showText } from '../shared/dom.js';
import { Refusal, type HouseApi, type MenuItem } from './house.js';
import { pictureOf } from './picture.js';
import { causeText } from './texts.js';

/** Several pictures that end together are one look. */
const SOON_MS = 500;

/** The dishes of the menu that have pictures: all that are not open on the page already. */
export class Shelf {
  readonly #api: HouseApi;
  readonly #open: ReadonlyMap<string, unknown>;
  readonly #onOpen: (item: string) => void;
  readonly #section: HTMLElement;
  readonly #list: HTMLElement;
  readonly #note: HTMLElement;
  readonly #problem: HTMLElement;
  #items: readonly MenuItem[] = [];
  #asked = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(section: HTMLElement, api: HouseApi, open: ReadonlyMap<string, unknown>, onOpen: (item: string) => void) {
    this.#api = api;
    this.#open = open;
    this.#onOpen = onOpen;
    this.#section = section;
    this.#list = make('ul', { class: 'tiles' });
    this.#note = make('p', { class: 'hint' });
    this.#problem = make('p', { class: 'problem', role: 'alert', hidden: '' });
    section.append(this.#list, this.#note, this.#problem);
  }

  async refresh(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const number = (this.#asked += 1);
    try {
      const items = await this.#api.menu();
      if (number !== this.#asked) return;
      this.#items = items;
      showText(this.#problem, undefined);
    } catch (cause) {
      if (number !== this.#asked) return;
      showText(this.#problem, cause instanceof Refusal ? causeText(cause) : String(cause));
    }
    this.draw();
  }

  /** Something has changed. */
  refreshSoon(): void {
    this.#timer ??= setTimeout(() => void this.refresh(), SOON_MS);
  }

  draw(): void {
    const closed = this.#items.filter(({ item }) => !this.#open.has(item));
    const focused = document.activeElement?.getAttribute('data-opens');
    this.#list.replaceChildren(...closed.map((item) => this.#tile(item)));
    if (focused) this.#list.querySelector<HTMLElement>(`[data-opens="${focused}"]`)?.focus();
    showText(this.#note, this.#items.length === 0 ? 'No dish has a picture yet. Name one above to begin.' : undefined);
    const title = this.#section.querySelector<HTMLElement>('h2');
    if (title) setText(title, this.#open.size > 0 ? 'Other dishes with pictures' : 'Dishes with pictures');
    this.#section.hidden = closed.length === 0 && (this.#items.length > 0 || this.#open.size > 0);
  }

  #tile({ item, images }: MenuItem): HTMLElement {
    const button = make('button', { type: 'button', class: 'tile', 'data-opens': item });
    const [first] = images;
    if (first) button.append(pictureOf(first, '', '5rem'));
    const count = make('small');
    setText(count, images.length === 1 ? '1 picture' : `${images.length} pictures`);
    button.append(make('span', { class: 'of' }, make('strong', {}, item), count));
    button.onclick = () => this.#onOpen(item);
    return make('li', {}, button);
  }
}
