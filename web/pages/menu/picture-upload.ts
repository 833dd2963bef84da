import type { Subscription, Wayfare } from '@wayfare/client';
import { Refusal, type HouseApi, type UploadNews } from './house.js';
import { hear, isOver, isSending, type Journey } from './journey.js';
import { Transfer, type Order } from './transfer.js';
import type { Turns } from './turns.js';

/** How often a record is asked where its topic cannot be watched. */
const ASK_MS = 3_000;

/** What becomes of the picture. */
export type Wish = Pick<Order, 'item' | 'shape' | 'focus'>;

export interface Surroundings {
  readonly api: HouseApi;
  readonly wayfare: Wayfare;
  readonly turns: Turns;
  /** Most bytes of a file, if known. */
  readonly bytesMax: number | undefined;
}

/** One file, from being chosen to its end: sends it, then follows what the server does with it. */
export class PictureUpload {
  readonly file: File;
  readonly #around: Surroundings;
  readonly #wish: Wish;
  readonly #onChange: (journey: Journey) => void;
  #journey: Journey;
  #transfer: Transfer | undefined;
  #id: string | undefined;
  #subscription: Subscription | undefined;
  #giveBack: () => void = () => {};
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(file: File, wish: Wish, around: Surroundings, onChange: (journey: Journey) => void) {
    this.file = file;
    this.#wish = wish;
    this.#around = around;
    this.#onChange = onChange;
    this.#journey = { phase: 'turn', length: file.size, sent: 0 };
  }

  get journey(): Journey {
    return this.#journey;
  }

  /** Begins, or begins anew after an end. */
  start(): void {
    const { api, turns } = this.#around;
    this.#id = undefined;
    this.#show({ phase: 'turn', length: this.file.size, sent: 0 });
    const transfer = new Transfer(this.file, { token: api.token, store: api.store, ...this.#wish }, {
      onKnown: (id) => this.#watch(id),
      onSent: (bytes) => isSending(this.#journey) && this.#show(this.#going({ phase: 'sending', sent: bytes })),
      onCut: (cause, again_ms) => isSending(this.#journey) && this.#show({ ...this.#journey, phase: 'cut', cause, again_ms }),
      onComplete: () => {
        this.#giveBack();
        if (isSending(this.#journey)) this.#show(this.#going({ phase: 'sent', sent: this.file.size, kept: this.file.size }));
      },
      onRefused: (cause) => isSending(this.#journey) && this.#end({ ...this.#journey, phase: 'failed', cause }),
    });
    this.#transfer = transfer;
    this.#giveBack = turns.take(() => {
      this.#show(this.#going({ phase: 'sending' }));
      void transfer.start();
    });
  }

  /** A try that waits is made now; one that has ended is made anew. */
  retry(): void {
    if (isOver(this.#journey)) this.start();
    else this.#transfer?.again();
  }

  cancel(): void {
    if (isOver(this.#journey)) return;
    if (isSending(this.#journey)) {
      this.#transfer?.stop();
      return this.#end({ ...this.#journey, phase: 'cancelled' });
    }
    const id = this.#id;
    if (id === undefined) return;
    this.#around.api.cancel(id).then(
      () => this.#hear(id, { state: 'cancelled' }),
      // Too late, or not to be reached: what becomes of it is told as before.
      () => {},
    );
  }

  /** The network is back, or the page is shown again. */
  wake(): void {
    this.#transfer?.again();
  }

  /** Without what was the matter before. */
  #going(change: Pick<Journey, 'phase'> & Partial<Journey>): Journey {
    const { cause: _, again_ms: __, ...rest } = this.#journey;
    return { ...rest, ...change };
  }

  #watch(id: string): void {
    this.#id = id;
    this.#subscription?.stop();
    this.#subscription = this.#around.wayfare.watch<UploadNews>(`upload:${id}`, {
      onState: (news) => this.#hear(id, news),
      onEnd: (news) => this.#hear(id, news),
      // What is over for the topic stands in the record.
      onError: () => void this.#ask(id),
    });
  }

  async #ask(id: string): Promise<void> {
    try {
      this.#hear(id, await this.#around.api.upload(id));
    } catch (cause) {
      if (this.#id !== id || isOver(this.#journey)) return;
      if (cause instanceof Refusal && !cause.retry) return this.#end({ ...this.#journey, phase: 'failed', cause });
    }
    if (this.#id === id && !isOver(this.#journey)) this.#timer = setTimeout(() => void this.#ask(id), ASK_MS);
  }

  #hear(id: string, news: UploadNews): void {
    if (id !== this.#id || isOver(this.#journey)) return;
    if (news.received !== undefined && news.received > (this.#journey.kept ?? 0)) this.#transfer?.alive();
    const next = hear(this.#journey, news);
    if (isOver(next)) this.#end(next);
    else this.#show(next);
  }

  #end(journey: Journey): void {
    if (isSending(this.#journey) && journey.phase !== 'done') this.#transfer?.stop();
    this.#transfer = undefined;
    clearTimeout(this.#timer);
    this.#giveBack();
    this.#subscription?.stop();
    this.#subscription = undefined;
    this.#show(journey);
  }

  #show(journey: Journey): void {
    this.#journey = journey;
    this.#onChange(journey);
  }
}
