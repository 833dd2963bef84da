/** So many at a time: a bad line is not divided further, and one file after the other is done. */
export class Turns {
  #free: number;
  readonly #waiting: (() => void)[] = [];

  constructor(places: number) {
    this.#free = places;
  }

  /** Calls `begin` when it is the caller's turn. What comes back gives the turn back, or the wish for one; twice does no harm. */
  take(begin: () => void): () => void {
    let held = false;
    let over = false;
    const mine = () => {
      held = true;
      begin();
    };
    if (this.#free > 0) {
      this.#free -= 1;
      mine();
    } else this.#waiting.push(mine);
    return () => {
      if (over) return;
      over = true;
      if (!held) this.#waiting.splice(this.#waiting.indexOf(mine), 1);
      else if (this.#waiting.length > 0) this.#waiting.shift()?.();
      else this.#free += 1;
    };
  }
}
