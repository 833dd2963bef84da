import { make, setText } from '../shared/dom.js';
import { isOver, view, type Journey } from './journey.js';
import { sizeText } from './texts.js';

export interface RowActions {
  onCancel(): void;
  onRetry(): void;
  onDismiss(): void;
}

/** One file on its way: name, bar, a sentence, and what may be done. */
export class Row {
  readonly element: HTMLElement;
  readonly #name: string;
  readonly #text = make('p', { class: 'state' });
  readonly #bar: HTMLProgressElement;
  readonly #cancel: HTMLButtonElement;
  readonly #retry: HTMLButtonElement;
  readonly #dismiss: HTMLButtonElement;

  constructor(file: File, { onCancel, onRetry, onDismiss }: RowActions) {
    this.#name = file.name;
    this.#bar = make('progress', { max: '1', 'aria-label': `Progress of ${file.name}` });
    const button = (text: string, act: () => void) => {
      const made = make('button', { type: 'button', class: 'plain', 'aria-label': `${text}: ${file.name}` }, text);
      made.onclick = act;
      return made;
    };
    this.#cancel = button('Cancel', onCancel);
    this.#retry = button('Try again', onRetry);
    this.#dismiss = button('Dismiss', onDismiss);
    this.element = make(
      'li',
      { class: 'upload', 'data-file': file.name },
      make('p', { class: 'name' }, make('strong', {}, file.name), make('small', {}, sizeText(file.size))),
      this.#bar,
      this.#text,
      make('div', { class: 'line' }, this.#retry, this.#cancel, this.#dismiss),
    );
  }

  /** What to say aloud, if it is worth it. */
  show(journey: Journey): string | undefined {
    const { text, tone, share, mayCancel, mayRetry } = view(journey);
    const before = this.element.dataset['phase'];
    this.element.dataset['phase'] = journey.phase;
    this.element.dataset['tone'] = tone;
    if (journey.cause) this.element.dataset['code'] = journey.cause.code;
    else delete this.element.dataset['code'];
    setText(this.#text, text);
    this.#bar.hidden = share === undefined;
    if (share !== undefined) this.#bar.value = share;
    const focused = this.element.contains(document.activeElement) ? (document.activeElement as HTMLElement) : undefined;
    this.#cancel.hidden = !mayCancel;
    this.#retry.hidden = !mayRetry;
    this.#dismiss.hidden = !isOver(journey);
    if (focused?.hidden) [this.#retry, this.#cancel, this.#dismiss].find((button) => !button.hidden)?.focus();
    return before !== journey.phase && ALOUD.includes(journey.phase) ? `${this.#name}: ${text}` : undefined;
  }
}

/** Not every step of a worker: the beginning, trouble, and the end. */
const ALOUD = ['sending', 'cut', 'sent', 'done', 'failed', 'cancelled', 'expired'];
