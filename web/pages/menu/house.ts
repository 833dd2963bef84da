/** A picture of a dish, as `GET /v1/stores/{id}/menu/{item}/images` has it. */
export interface Image {
  readonly upload: string;
  readonly width: number;
  readonly height: number;
  readonly src: string;
  readonly placeholder: string;
  readonly colour: string;
  readonly sources: readonly { type: string; srcset: string; files: readonly { url: string; width: number; height: number }[] }[];
}

/** A dish that has pictures, as `GET /v1/stores/{id}/menu` has it. */
export interface MenuItem {
  readonly item: string;
  readonly images: readonly Image[];
}

export type UploadState = 'receiving' | 'queued' | 'decoding' | 'encoding' | 'storing' | 'done' | 'failed' | 'cancelled' | 'expired';

/** The topic `upload:{id}`, and `GET /v1/uploads/{id}`, as far as the page needs them. */
export interface UploadNews {
  readonly state?: UploadState;
  readonly received?: number;
  readonly ahead?: number | null;
  readonly made?: number;
  readonly variants?: number;
  readonly waiting?: string | null;
  readonly picture?: Image;
  readonly error?: Cause;
}

/** Why something did not happen: a word for programs and a sentence for people. */
export interface Cause {
  readonly code: string;
  readonly message: string;
}

/** A refusal of the house, or of whoever stands before it. */
export class Refusal extends Error implements Cause {
  constructor(
    readonly code: string,
    message: string,
    /** The same may succeed later. */
    readonly retry: boolean,
    readonly retry_after_ms?: number,
  ) {
    super(message);
  }
}

const LINE_DOWN = 'the server cannot be reached';

export const lineDown = () => new Refusal('client_line', LINE_DOWN, true);

/** `status` is 0 if no answer came. Bodies that are not ours come from a proxy on the way. */
export function refusalOf(status: number, body: string, retry_after_s?: string | null): Refusal {
  if (status === 0) return lineDown();
  const told = parse(body);
  // A conflict is about where bytes go on, which the next request asks; 460 is of tus: bytes were damaged on the way.
  const passing = status >= 500 || [408, 409, 423, 425, 429, 460].includes(status);
  const after_ms = told.retry_after_ms ?? (Number(retry_after_s) > 0 ? Number(retry_after_s) * 1_000 : undefined);
  return new Refusal(told.code ?? CODES[status] ?? `http_${status}`, told.message ?? `the server answered ${status}`, told.retry || passing, after_ms);
}

/** Answers to HEAD have no body. */
const CODES: Record<number, string> = { 401: 'unauthorized', 403: 'forbidden', 404: 'not_found', 410: 'ended', 413: 'too_large' };

function parse(body: string): { code?: string; message?: string; retry?: boolean; retry_after_ms?: number } {
  try {
    const told: unknown = JSON.parse(body);
    return typeof told === 'object' && told !== null ? told : {};
  } catch {
    return {};
  }
}

/** The calls of the page. They throw a `Refusal`. */
export class HouseApi {
  readonly token: string;
  readonly store: string;

  constructor(token: string, store: string) {
    this.token = token;
    this.store = store;
  }

  async nameOfStore(): Promise<string> {
    const { name } = (await this.#ask('GET', `/v1/stores/${encodeURIComponent(this.store)}`)) as { name: string };
    return name;
  }

  /** Most bytes of a file, as the server tells everybody who speaks tus; nothing if it does not. */
  async bytesMax(): Promise<number | undefined> {
    try {
      const { headers } = await fetch('/v1/uploads', { method: 'OPTIONS' });
      return Number(headers.get('tus-max-size')) || undefined;
    } catch {
      return undefined;
    }
  }

  /** All dishes that have pictures. */
  async menu(): Promise<MenuItem[]> {
    const items: MenuItem[] = [];
    let cursor: string | undefined;
    do {
      const query = new URLSearchParams({ limit: '200', ...(cursor !== undefined && { cursor }) });
      const page = (await this.#ask('GET', `/v1/stores/${encodeURIComponent(this.store)}/menu?${query}`)) as { items: MenuItem[]; next?: string };
      items.push(...page.items);
      cursor = page.next;
    } while (cursor !== undefined);
    return items;
  }

  images(item: string): Promise<Image[]> {
    return this.#images('GET', item);
  }

  /** Sets pictures and their order. */
  setImages(item: string, uploads: readonly string[]): Promise<Image[]> {
    return this.#images('PUT', item, { uploads });
  }

  async upload(id: string): Promise<UploadNews> {
    return (await this.#ask('GET', `/v1/uploads/${encodeURIComponent(id)}`)) as UploadNews;
  }

  /** Takes an upload back. */
  async cancel(id: string): Promise<void> {
    await this.#ask('DELETE', `/v1/uploads/${encodeURIComponent(id)}`);
  }

  async #images(method: string, item: string, body?: object): Promise<Image[]> {
    const path = `/v1/stores/${encodeURIComponent(this.store)}/menu/${encodeURIComponent(item)}/images`;
    return ((await this.#ask(method, path, body)) as { images: Image[] }).images;
  }

  async #ask(method: string, path: string, body?: object): Promise<unknown> {
    let response: Response;
    let text: string;
    try {
      response = await fetch(path, {
        method,
        headers: { authorization: `Bearer ${this.token}`, ...(body && { 'content-type': 'application/json' }) },
        ...(body && { body: JSON.stringify(body) }),
      });
      text = await response.text();
    } catch {
      throw lineDown();
    }
    if (!response.ok) throw refusalOf(response.status, text, response.headers.get('retry-after'));
    return text === '' ? {} : JSON.parse(text);
  }
}
