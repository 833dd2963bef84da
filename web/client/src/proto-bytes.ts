/** The few bits of Protocol Buffers that the watch protocol uses. */

/** Reads the fields of one message, in order. */
export class ProtoReader {
  readonly #bytes: Uint8Array;
  readonly #end: number;
  #at: number;

  constructor(bytes: Uint8Array, at = 0, end = bytes.length) {
    if (end > bytes.length) throw new RangeError('a message that is cut short');
    this.#bytes = bytes;
    this.#at = at;
    this.#end = end;
  }

  get done(): boolean {
    return this.#at >= this.#end;
  }

  /** Calls for each field with its number; what is not read is passed over. */
  fields(take: (field: number, reader: ProtoReader) => boolean): void {
    while (!this.done) {
      const key = this.varint();
      if (!take(key >>> 3, this)) this.#skip(key & 7);
    }
  }

  /** Exact up to 2^53. */
  varint(): number {
    let value = 0;
    for (let scale = 1; scale <= 2 ** 63; scale *= 128) {
      const byte = this.#byte();
      value += (byte & 127) * scale;
      if (byte < 128) return value;
    }
    throw new RangeError('a number of more than ten bytes');
  }

  bool(): boolean {
    return this.varint() !== 0;
  }

  /** `sint32`, `sint64`: small negative numbers are small. */
  zigzag(): number {
    const number = this.#large();
    if (typeof number === 'bigint') return Number((number >> 1n) ^ -(number & 1n));
    return unzigzag(number);
  }

  /** `int64`: negative ones take ten bytes. */
  int64(): number {
    const number = this.#large();
    return typeof number === 'bigint' ? Number(BigInt.asIntN(64, number)) : number;
  }

  double(): number {
    const start = this.#take(8);
    return new DataView(this.#bytes.buffer, this.#bytes.byteOffset + start, 8).getFloat64(0, true);
  }

  text(): string {
    const length = this.varint();
    const start = this.#take(length);
    return decoder.decode(this.#bytes.subarray(start, start + length));
  }

  message(): ProtoReader {
    const length = this.varint();
    const start = this.#take(length);
    return new ProtoReader(this.#bytes, start, start + length);
  }

  /** As a bigint where a number would not be exact. */
  #large(): number | bigint {
    const start = this.#at;
    const number = this.varint();
    if (number <= Number.MAX_SAFE_INTEGER) return number;
    let exact = 0n;
    for (let at = this.#at - 1; at >= start; at -= 1) exact = (exact << 7n) | BigInt(this.#bytes[at]! & 127);
    return BigInt.asUintN(64, exact);
  }

  #byte(): number {
    return this.#bytes[this.#take(1)]!;
  }

  #take(length: number): number {
    const start = this.#at;
    if (length > this.#end - start) throw new RangeError('a message that is cut short');
    this.#at += length;
    return start;
  }

  #skip(kind: number): void {
    if (kind === 0) this.varint();
    else if (kind === 1) this.#take(8);
    else if (kind === 2) this.#take(this.varint());
    else if (kind === 5) this.#take(4);
    else throw new RangeError(`a field of the unknown kind ${kind}`);
  }
}

export function unzigzag(number: number): number {
  return number % 2 === 0 ? number / 2 : -(number + 1) / 2;
}

/** Writes the fields of one message. */
export class ProtoWriter {
  readonly #bytes: number[] = [];

  get bytes(): Uint8Array<ArrayBuffer> {
    return new Uint8Array(this.#bytes);
  }

  number(field: number, value: number): this {
    this.#varint(field * 8);
    this.#varint(value);
    return this;
  }

  text(field: number, text: string): this {
    return this.#block(field, encoder.encode(text));
  }

  message(field: number, write: (inner: ProtoWriter) => void): this {
    const inner = new ProtoWriter();
    write(inner);
    return this.#block(field, inner.#bytes);
  }

  #block(field: number, bytes: ArrayLike<number>): this {
    this.#varint(field * 8 + 2);
    this.#varint(bytes.length);
    for (let at = 0; at < bytes.length; at += 1) this.#bytes.push(bytes[at]!);
    return this;
  }

  #varint(value: number): void {
    while (value > 127) {
      this.#bytes.push((value % 128) + 128);
      value = Math.floor(value / 128);
    }
    this.#bytes.push(value);
  }
}

const decoder = new TextDecoder('utf-8', { fatal: true });
const encoder = new TextEncoder();
