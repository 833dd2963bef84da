export type TokenOption = string | (() => string | Promise<string>);

/** Keeps the token in use, and fetches another when that one is refused or about to expire. */
export class TokenSource {
  readonly #option: TokenOption;
  #token: string | undefined;
  #refusals = 0;

  constructor(option: TokenOption) {
    this.#option = option;
  }

  /** Whether asking again can give another token. */
  get renewable(): boolean {
    return typeof this.#option === 'function';
  }

  async get(): Promise<string> {
    if (typeof this.#option === 'string') return this.#option;
    this.#token ??= await this.#option();
    return this.#token;
  }

  async renew(): Promise<string> {
    this.#token = undefined;
    return this.get();
  }

  /** The server would not have it. Tells whether it is worth coming back. */
  refused(): boolean {
    this.#token = undefined;
    this.#refusals += 1;
    // A fixed token gets one more try: the refusal may only mean that it arrived late on a slow line.
    return this.renewable ? this.#refusals < 8 : this.#refusals < 2;
  }

  accepted(): void {
    this.#refusals = 0;
  }
}
