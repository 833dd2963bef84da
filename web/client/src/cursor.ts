/** Where a watcher stands in a topic: `epoch.seq`. Of a log, generation and event number. */
export interface Cursor {
  readonly epoch: number;
  readonly seq: number;
}

export function parseCursor(text: string): Cursor | undefined {
  const match = /^(\d{1,16})\.(\d{1,16})$/.exec(text);
  if (!match) return undefined;
  const cursor = { epoch: Number(match[1]), seq: Number(match[2]) };
  return Number.isSafeInteger(cursor.epoch) && Number.isSafeInteger(cursor.seq) ? cursor : undefined;
}

export function formatCursor(cursor: Cursor): string {
  return `${cursor.epoch}.${cursor.seq}`;
}

/** Negative if `a` is before `b`, zero if they are the same place. */
export function compareCursors(a: Cursor, b: Cursor): number {
  return a.epoch - b.epoch || a.seq - b.seq;
}
