import type { Cause, Image, UploadNews, UploadState } from './house.js';
import { causeText, sizeText, waitText } from './texts.js';

/** `turn`: others go first. `cut`: the line is down, or the server said later. `sent`: all bytes are there, nothing is known yet. */
export type Phase = 'turn' | 'sending' | 'cut' | 'sent' | Exclude<UploadState, 'receiving'>;

/** A file on its way from this device into the menu. */
export interface Journey {
  readonly phase: Phase;
  readonly length: number;
  /** Bytes handed to the network. */
  readonly sent: number;
  /** Bytes the server keeps, once it was heard. */
  readonly kept?: number;
  readonly ahead?: number | null;
  readonly made?: number;
  readonly variants?: number;
  readonly waiting?: string | null;
  readonly picture?: Image;
  readonly cause?: Cause;
  /** Of `cut`: until the next try. */
  readonly again_ms?: number;
}

const RANK: Record<Phase, number> = {
  turn: 0, sending: 1, cut: 1, sent: 2, queued: 3, decoding: 4, encoding: 5, storing: 6, done: 7, failed: 7, cancelled: 7, expired: 7,
};

export function isOver({ phase }: Journey): boolean {
  return RANK[phase] === 7;
}

/** Bytes still have to come from this device. */
export function isSending({ phase }: Journey): boolean {
  return RANK[phase] < 2;
}

/** What the server says of it. It never leads back, in whatever order it is heard. */
export function hear(journey: Journey, news: UploadNews): Journey {
  if (isOver(journey)) return journey;
  const kept = Math.max(journey.kept ?? 0, news.received ?? 0);
  if (news.state === undefined || news.state === 'receiving' || RANK[news.state] < RANK[journey.phase]) return { ...journey, kept };
  return {
    phase: news.state,
    length: journey.length,
    sent: journey.length,
    kept,
    ...(news.ahead !== undefined && { ahead: news.ahead }),
    ...(news.made !== undefined && { made: news.made }),
    ...(news.variants !== undefined && { variants: news.variants }),
    ...(news.waiting !== undefined && { waiting: news.waiting }),
    ...(news.picture && { picture: news.picture }),
    ...(news.error && { cause: news.error }),
  };
}

/** What a row shows. */
export interface View {
  readonly text: string;
  readonly tone: 'calm' | 'warn' | 'bad' | 'good';
  /** From 0 to 1; `undefined`: how long it takes is not known, or it is over. */
  readonly share: number | undefined;
  readonly mayCancel: boolean;
  /** Again at once, or again at all. */
  readonly mayRetry: boolean;
}

/** Bytes are most of the way on a bad line, which is the one on which people look. */
const BYTES = 0.8;

export function view(journey: Journey): View {
  const { phase, length, ahead, made, variants, cause } = journey;
  const bytes = Math.min(journey.kept ?? journey.sent, length);
  const share = length === 0 ? 0 : bytes / length;
  const row = (text: string, rest: Partial<View> = {}): View => ({ text, tone: 'calm', share: undefined, mayCancel: true, mayRetry: false, ...rest });
  switch (phase) {
    case 'turn':
      return row('Waits for its turn', { share: 0 });
    case 'sending':
      return row(`Uploading, ${Math.floor(share * 100)} % of ${sizeText(length)}`, { share: share * BYTES });
    case 'cut':
      return row(`${cutText(journey)} ${bytes > 0 ? `${Math.floor(share * 100)} % is safe. ` : ''}${waitText(journey.again_ms ?? 0)}`, {
        tone: 'warn', share: share * BYTES, mayRetry: true,
      });
    case 'sent':
    case 'queued':
      return row(queueText(journey.waiting, ahead), { share: BYTES });
    case 'decoding':
      return row('Looking at the picture', { share: 0.85 });
    case 'encoding':
      return row(`Making it ready for the web${variants ? `, ${made ?? 0} of ${variants}` : ''}`, { share: 0.85 + (variants ? 0.1 * ((made ?? 0) / variants) : 0) });
    case 'storing':
      return row('Almost done', { share: 0.97 });
    case 'done':
      return row('On the menu', { tone: 'good', mayCancel: false });
    case 'cancelled':
      return row('Cancelled', { mayCancel: false, mayRetry: true });
    case 'expired':
      return row('The rest of the file did not come in time.', { tone: 'bad', mayCancel: false, mayRetry: true });
    case 'failed':
      return row(causeText(cause), { tone: 'bad', mayCancel: false, mayRetry: mayHelp(cause) });
  }
}

function cutText({ cause }: Journey): string {
  return cause === undefined || cause.code === 'client_line' ? 'The line is down.' : `Not now: ${causeText(cause)}`;
}

function queueText(waiting: string | null | undefined, ahead: number | null | undefined): string {
  if (waiting === 'storage') return 'Uploaded. The server waits for its storage; nothing to do here';
  if (waiting === 'workers') return 'Uploaded. The server is busy; nothing to do here';
  if (!ahead) return 'Uploaded, is next';
  return `Uploaded, ${ahead} ${ahead === 1 ? 'picture' : 'pictures'} before it`;
}

/** With the same file: whether another try can end differently. */
const HOPELESS = [
  'unsupported_format', 'empty', 'too_large', 'too_many_pixels', 'side_too_long', 'too_small', 'truncated', 'damaged', 'unknown_colours',
  'unauthorized', 'forbidden', 'invalid', 'malformed', 'client_file',
];

function mayHelp(cause: Cause | undefined): boolean {
  return cause === undefined || !HOPELESS.includes(cause.code);
}
