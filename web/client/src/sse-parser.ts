export interface SseEvent {
  readonly name: string;
  readonly data: string;
  readonly id: string | undefined;
}

/** Cuts a text stream into events, as the HTML standard says. Comments and `retry:` only count as a sign of life. */
export class SseParser {
  #rest = '';
  #name = '';
  #data: string[] = [];
  #id: string | undefined;

  push(text: string): SseEvent[] {
    const events: SseEvent[] = [];
    this.#rest += text;
    // A CR at the very end may be half of a CRLF: wait for its other half.
    const lines = this.#rest.split(/\r\n|\n|\r(?!$)/);
    this.#rest = lines.pop() ?? '';
    for (const line of lines) {
      const event = this.#line(line);
      if (event) events.push(event);
    }
    return events;
  }

  #line(line: string): SseEvent | undefined {
    if (line === '') return this.#dispatch();
    const colon = line.indexOf(':');
    if (colon === 0) return undefined;
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? '' : line.slice(colon + 1).replace(/^ /, '');
    if (field === 'event') this.#name = value;
    else if (field === 'data') this.#data.push(value);
    else if (field === 'id' && !value.includes('\0')) this.#id = value;
    return undefined;
  }

  #dispatch(): SseEvent | undefined {
    const event = this.#data.length > 0 ? { name: this.#name || 'message', data: this.#data.join('\n'), id: this.#id } : undefined;
    this.#name = '';
    this.#data = [];
    return event;
  }
}
