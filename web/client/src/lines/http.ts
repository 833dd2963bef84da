import { downOfError, type Down } from '../close-codes.js';
import { isObject } from '../merge-patch.js';
import type { WayfareError } from '../messages.js';
import { endpoint, type LineContext, type LineEvents } from './line.js';

/** Topics of one SSE stream or poll. */
export const TOPICS_PER_REQUEST = 8;

export function watchUrl(context: LineContext, path: string, topics: readonly string[]): string {
  const cursors = topics.map((topic) => context.cursorOf(topic) ?? '-');
  const query = `topics=${topics.map(encodeURIComponent).join(',')}`;
  const resume = cursors.some((cursor) => cursor !== '-') ? `&cursor=${cursors.join(',')}` : '';
  // A stream has one interval: that of its most eager topic.
  const interval_ms = Math.min(...topics.map((topic) => context.intervalOf(topic) ?? 0));
  return `${endpoint(context.url, path)}?${query}${resume}${interval_ms > 0 ? `&interval_ms=${interval_ms}` : ''}`;
}

/** The error of an answer, and whether it is in the server's own words rather than some proxy's. */
export async function readError(response: Response): Promise<{ error: WayfareError; told: boolean }> {
  let body: unknown;
  try {
    body = await response.json();
  } catch {
    // Not ours; the status has to do.
  }
  const told = isObject(body) && typeof body['code'] === 'string';
  const seconds = Number(response.headers.get('retry-after') ?? NaN);
  const fallback: WayfareError = {
    code: `http_${response.status}`,
    message: `the server answered ${response.status}`,
    ...(Number.isFinite(seconds) && { retry_after_ms: seconds * 1000 }),
  };
  return { error: told ? { ...fallback, ...(body as unknown as WayfareError) } : fallback, told };
}

/**
 * What a refused request means. Where it is the verdict on one topic, that topic is told and the answer is
 * `undefined`: go on with the others.
 */
export async function refusal(response: Response, topics: readonly string[], onFrame: LineEvents['onFrame']): Promise<Down | undefined> {
  const { error, told } = await readError(response);
  const topic = error.topic ?? (topics.length === 1 ? topics[0] : undefined);
  if (told && response.status === 410) {
    for (const ended of topic === undefined ? topics : [topic]) onFrame(ended, { type: 'end', state: error.state });
    return undefined;
  }
  const aboutTopic = told && topic !== undefined && (error.code === 'not_found' || error.code === 'forbidden');
  if (!aboutTopic) return downOfError(response.status, error, told);
  onFrame(topic, { type: 'error', error: { ...error, topic } });
  return undefined;
}
