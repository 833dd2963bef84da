import { Upload, type DetailedError } from 'tus-js-client';
import { Refusal, refusalOf } from './house.js';

const ENDPOINT = '/v1/uploads';
const AGAIN_FIRST_MS = 1_000;
const AGAIN_LONGEST_MS = 30_000;
/** A line on which nothing moves for so long is dead, whatever the system says of it. */
const SILENT_MS = 60_000;

export interface Order {
  readonly token: string;
  readonly store: string;
  readonly item: string;
  readonly shape: string;
  /** As `focusText` has it; the middle without one. */
  readonly focus?: string;
}

export interface TransferEvents {
  /** The server knows it by this id. */
  onKnown(id: string): void;
  onSent(bytes: number): void;
  /** It could not go on, and will by itself. */
  onCut(why: Refusal, again_ms: number): void;
  onComplete(): void;
  /** It will not go on by itself. */
  onRefused(why: Refusal): void;
}

/** Bytes of one file to the server, by tus: waits out dead lines, goes on where the server says, also after the page was loaded anew. */
export class Transfer {
  readonly #file: File;
  readonly #events: TransferEvents;
  readonly #headers: Record<string, string>;
  readonly #tus: Upload;
  /** Known from an earlier visit only: that it is gone is no surprise. */
  #isOld = false;
  #id: string | undefined;
  #tries = 0;
  /** Until the next try; not set while one is made. */
  #timer: ReturnType<typeof setTimeout> | undefined;
  #silence: ReturnType<typeof setTimeout> | undefined;
  #stopped = false;

  constructor(file: File, order: Order, events: TransferEvents) {
    this.#file = file;
    this.#events = events;
    this.#headers = { authorization: `Bearer ${order.token}` };
    const { store, item, shape, focus } = order;
    this.#tus = new Upload(file, {
      endpoint: ENDPOINT,
      headers: this.#headers,
      metadata: { store, item, preset: shape, ...(focus !== undefined && { focus }) },
      // No token in it: it is kept in the browser's storage.
      fingerprint: async () => ['wayfare', store, item, shape, focus ?? '', file.name, file.size, file.lastModified].join('/'),
      removeFingerprintOnSuccess: true,
      // Whether and when to try again is decided here, and without an end.
      retryDelays: null,
      onUploadUrlAvailable: () => this.#known(),
      onProgress: (bytes) => this.#moved(bytes),
      onSuccess: () => this.#complete(),
      onError: (error) => void this.#failed(error),
    });
  }

  async start(): Promise<void> {
    // A browser may refuse its storage to pages; then nothing is remembered.
    const [before] = await this.#tus.findPreviousUploads().catch(() => []);
    if (this.#stopped) return;
    if (before?.uploadUrl) {
      this.#isOld = true;
      this.#tus.resumeFromPreviousUpload(before);
      this.#tus.options.endpoint = null;
    }
    this.#go();
  }

  /** Now rather than later. */
  again(): void {
    if (this.#timer === undefined || this.#stopped) return;
    clearTimeout(this.#timer);
    this.#go();
  }

  /** The server was heard of it: the line is not dead. */
  alive(): void {
    if (!this.#stopped) this.#watchLine();
  }

  /** Ends it here, and takes it back where it is known. */
  stop(): void {
    this.#halt();
    void this.#tus.abort();
    void this.#forget();
    const { url } = this.#tus;
    // If the line stays down the server lets it expire.
    if (url) void Upload.terminate(url, { headers: this.#headers, retryDelays: [1_000, 5_000, 20_000] }).catch(() => {});
  }

  /** A later try with the same file is another upload. */
  async #forget(): Promise<void> {
    const known = await this.#tus.findPreviousUploads().catch(() => []);
    for (const { urlStorageKey } of known) await this.#tus.options.urlStorage?.removeUpload(urlStorageKey);
  }

  #go(): void {
    this.#timer = undefined;
    this.#watchLine();
    this.#tus.start();
  }

  #known(): void {
    // With an endpoint the library would begin anew when a proxy answers 502 to its question how far it is.
    this.#tus.options.endpoint = null;
    const id = this.#tus.url?.split('/').at(-1);
    if (id === undefined || id === this.#id) return;
    this.#id = id;
    this.#isOld = false;
    this.#events.onKnown(id);
  }

  #moved(bytes: number): void {
    if (this.#stopped) return;
    if (bytes > 0) this.#tries = 0;
    this.#watchLine();
    this.#events.onSent(bytes);
  }

  #complete(): void {
    this.#halt();
    this.#events.onComplete();
  }

  async #failed(error: Error | DetailedError): Promise<void> {
    clearTimeout(this.#silence);
    const response = 'originalResponse' in error ? error.originalResponse : null;
    const refusal = refusalOf(response?.getStatus() ?? 0, response?.getBody() ?? '', response?.getHeader('Retry-After'));
    if (refusal.code === 'client_line' && !(await isReadable(this.#file))) {
      return this.#refused(new Refusal('client_file', 'the file cannot be read', false));
    }
    if (this.#stopped) return;
    if (this.#isOld && (refusal.code === 'not_found' || refusal.code === 'ended')) return this.#anew();
    if (!refusal.retry) return this.#refused(refusal);
    this.#cut(refusal);
  }

  #anew(): void {
    this.#isOld = false;
    this.#tus.url = null;
    this.#tus.options.endpoint = ENDPOINT;
    this.#go();
  }

  #cut(why: Refusal): void {
    const doubled_ms = Math.min(AGAIN_LONGEST_MS, AGAIN_FIRST_MS * 2 ** this.#tries);
    this.#tries += 1;
    // Jitter: many tablets come back on the same line.
    const again_ms = why.retry_after_ms ?? doubled_ms * (0.5 + Math.random() / 2);
    this.#timer = setTimeout(() => this.#go(), again_ms);
    this.#events.onCut(why, again_ms);
  }

  #refused(why: Refusal): void {
    this.#halt();
    this.#events.onRefused(why);
  }

  #halt(): void {
    this.#stopped = true;
    clearTimeout(this.#silence);
    clearTimeout(this.#timer);
  }

  #watchLine(): void {
    clearTimeout(this.#silence);
    this.#silence = setTimeout(() => {
      if (this.#stopped || this.#timer !== undefined) return;
      void this.#tus.abort();
      this.#cut(refusalOf(0, ''));
    }, SILENT_MS);
  }
}

/** A file may have been moved, changed or taken away with its card; browsers report that as a dead line. */
async function isReadable(file: File): Promise<boolean> {
  try {
    await file.slice(0, 1).arrayBuffer();
    return true;
  } catch {
    return false;
  }
}

