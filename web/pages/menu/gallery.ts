import { make, setText, showText } from '../shared/dom.js';
import { Refusal, type HouseApi, type Image } from './house.js';
import { pictureOf } from './picture.js';
import { causeText } from './texts.js';

/** An item has no more; the server lets the oldest go. */
export const IMAGES_MAX = 10;

const SIZES = '(min-width: 44rem) 13rem, 44vw';

/** The pictures that a dish has, in their order, and what may be done with them. */
export class Gallery {
  readonly element: HTMLElement;
  readonly #item: string;
  readonly #api: HouseApi;
  readonly #say: (text: string) => void;
  readonly #list = make('ol', { class: 'pictures' });
  readonly #note = make('p', { class: 'hint' });
  readonly #problem = make('p', { class: 'problem', role: 'alert', hidden: '' });
  readonly #undo = make('button', { type: 'button', class: 'plain', hidden: '' }, 'Undo');
  readonly #shown = new Map<string, HTMLElement>();
  #images: readonly Image[] = [];
  /** Answers may come in another order than they were asked for. */
  #asked = 0;

  constructor(item: string, api: HouseApi, say: (text: string) => void) {
    this.#item = item;
    this.#api = api;
    this.#say = say;
    this.element = make('div', { class: 'gallery' }, this.#list, make('div', { class: 'line' }, this.#note, this.#undo), this.#problem);
  }

  refresh(): Promise<void> {
    return this.#take(() => this.#api.images(this.#item));
  }

  async #take(ask: () => Promise<Image[]>): Promise<void> {
    const number = (this.#asked += 1);
    try {
      const images = await ask();
      if (number !== this.#asked) return;
      this.#images = images;
      this.#draw();
      showText(this.#problem, undefined);
    } catch (cause) {
      if (number !== this.#asked) return;
      showText(this.#problem, cause instanceof Refusal ? causeText(cause) : String(cause));
    }
  }

  /** Changes what the server has now, which another tablet may have changed meanwhile. */
  #change(how: (uploads: string[]) => string[], told: string): void {
    let before: string[] = [];
    void this.#take(async () => {
      before = (await this.#api.images(this.#item)).map(({ upload }) => upload);
      const images = await this.#api.setImages(this.#item, how(before));
      this.#say(told);
      this.#undo.hidden = false;
      this.#undo.onclick = () => {
        this.#undo.hidden = true;
        void this.#take(() => this.#api.setImages(this.#item, before));
        this.#say('Undone.');
      };
      return images;
    });
  }

  #draw(): void {
    const kept = new Set(this.#images.map(({ upload }) => upload));
    for (const [upload, element] of this.#shown) {
      if (kept.has(upload)) continue;
      // Whoever came by keyboard is not sent back to the beginning of the page.
      if (element.contains(document.activeElement)) this.#undo.focus();
      element.remove();
      this.#shown.delete(upload);
    }
    this.#images.forEach((image, place) => {
      const element = this.#shown.get(image.upload) ?? this.#tile(image);
      this.#shown.set(image.upload, element);
      if (this.#list.children[place] !== element) this.#list.insertBefore(element, this.#list.children[place] ?? null);
      this.#name(element, place);
    });
    const { length } = this.#images;
    const full = length >= IMAGES_MAX ? ' Another takes the place of the oldest.' : '';
    setText(this.#note, length === 0 ? 'No picture yet.' : length === 1 ? '1 picture.' : `${length} pictures, the first is the one for lists.${full}`);
  }

  #tile(image: Image): HTMLElement {
    const first = make('button', { type: 'button', class: 'plain', 'data-does': 'first' }, 'First');
    const remove = make('button', { type: 'button', class: 'plain', 'data-does': 'remove' }, 'Remove');
    const others = (uploads: string[]) => uploads.filter((upload) => upload !== image.upload);
    first.onclick = () => this.#change((uploads) => [image.upload, ...others(uploads)], 'This picture is now the first.');
    remove.onclick = () => this.#change(others, 'Removed from the menu.');
    return make('li', { 'data-upload': image.upload }, pictureOf(image, '', SIZES), make('div', { class: 'line' }, first, remove));
  }

  #name(element: HTMLElement, place: number): void {
    const which = `picture ${place + 1} of ${this.#item}`;
    element.querySelector('img')?.setAttribute('alt', `${this.#item}, picture ${place + 1}`);
    const first = element.querySelector<HTMLElement>('[data-does=first]');
    first?.setAttribute('aria-label', `Make ${which} the first`);
    if (first) first.hidden = place === 0;
    element.querySelector('[data-does=remove]')?.setAttribute('aria-label', `Remove ${which}`);
  }
}
