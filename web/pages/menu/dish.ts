import { make } from '../shared/dom.js';
import { dropZone } from './drop-zone.js';
import { askFocus } from './focus-dialog.js';
import { focusText } from './focus.js';
import { Gallery } from './gallery.js';
import { isOver, isSending } from './journey.js';
import { PictureUpload, type Surroundings, type Wish } from './picture-upload.js';
import { Row } from './row.js';

const SHAPES = { '4:3': '4:3, as most menus', '5:4': '5:4', '1:1': 'Square', none: 'The whole picture' };

/** One dish: its pictures, what is on its way to them, and where more are taken. */
export class Dish {
  readonly item: string;
  readonly element: HTMLElement;
  readonly #around: Surroundings;
  readonly #say: (text: string) => void;
  readonly #gallery: Gallery;
  readonly #rows = make('ul', { class: 'uploads' });
  readonly #shape = make('select', {}, ...Object.entries(SHAPES).map(([value, text]) => make('option', { value }, text)));
  readonly #asks = make('input', { type: 'checkbox' });
  readonly #uploads = new Set<PictureUpload>();

  constructor(item: string, around: Surroundings, say: (text: string) => void, onHide: () => void) {
    this.item = item;
    this.#around = around;
    this.#say = say;
    this.#gallery = new Gallery(item, around.api, (text) => say(`${item}: ${text}`));
    this.#rows.setAttribute('aria-label', `Uploads for ${item}`);
    const heading = make('h2', { id: `dish-${item}` }, item);
    const hide = make('button', { type: 'button', class: 'plain', 'aria-label': `Hide ${item}; its pictures stay` }, 'Hide');
    hide.onclick = onHide;
    this.element = make('section', { class: 'dish', 'aria-labelledby': heading.id, 'data-item': item, 'data-over': 'no' });
    this.element.append(
      make('header', { class: 'line' }, heading, hide),
      this.#gallery.element,
      this.#rows,
      dropZone(item, around.bytesMax, this.element, (files) => this.take(files)),
      make('div', { class: 'wishes' },
        make('label', { class: 'shape' }, 'Shape', make('span', { class: 'visually-hidden' }, ` of new pictures for ${item}`), ' ', this.#shape),
        make('label', { class: 'asks' }, this.#asks, ' Let me point at what must be seen', make('span', { class: 'visually-hidden' }, ` in new pictures for ${item}`)),
      ),
    );
    void this.#gallery.refresh();
  }

  refresh(): void {
    void this.#gallery.refresh();
  }

  /** Bytes still have to come from here. */
  get isSending(): boolean {
    return [...this.#uploads].some(({ journey }) => isSending(journey));
  }

  get isBusy(): boolean {
    return [...this.#uploads].some(({ journey }) => !isOver(journey));
  }

  wake(): void {
    for (const upload of this.#uploads) upload.wake();
  }

  take(files: readonly File[]): void {
    const shape = this.#shape.value;
    void (async () => {
      for (const file of files) {
        const twice = [...this.#uploads].some((upload) => isSame(upload.file, file) && !isOver(upload.journey));
        if (twice) {
          this.#say(`${file.name} is already on its way.`);
          continue;
        }
        // One after the other; those before are on their way already.
        const focus = this.#asks.checked && shape !== 'none' ? await askFocus(file, shape) : null;
        if (focus !== undefined) this.#begin(file, { item: this.item, shape, ...(focus && { focus: focusText(focus) }) });
      }
    })();
  }

  #begin(file: File, wish: Wish): void {
    const row = new Row(file, {
      onCancel: () => upload.cancel(),
      onRetry: () => upload.retry(),
      onDismiss: () => this.#forget(upload, row),
    });
    const upload: PictureUpload = new PictureUpload(file, wish, this.#around, (journey) => {
      const aloud = row.show(journey);
      if (aloud) this.#say(aloud);
      // The server has put it to the dish in the same step.
      if (journey.phase === 'done') void this.#gallery.refresh().then(() => this.#forget(upload, row));
    });
    this.#uploads.add(upload);
    this.#rows.append(row.element);
    upload.start();
  }

  #forget(upload: PictureUpload, row: Row): void {
    this.#uploads.delete(upload);
    if (row.element.contains(document.activeElement)) this.element.querySelector<HTMLElement>('input[type=file]')?.focus();
    row.element.remove();
  }
}

function isSame(one: File, other: File): boolean {
  return one.name === other.name && one.size === other.size && one.lastModified === other.lastModified;
}
