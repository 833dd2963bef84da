import type { WayfareError } from './messages.js';

/** What a connection that went down asks of us. */
export type Down =
  /** Come back, after `retry_after_ms` if told. `serverSpoke`: the server itself ended it, the network is not to blame. */
  | { kind: 'retry'; retry_after_ms?: number; serverSpoke: boolean; error: WayfareError }
  /** Come back with a new token. */
  | { kind: 'token'; error: WayfareError }
  /** Stay away: coming back gives the same answer. */
  | { kind: 'stop'; error: WayfareError }
  /** Every topic has ended; nothing is wrong. */
  | { kind: 'finished' };

/** Close codes by range; `bye` told the rest. */
export function downOfClose(code: number, reason: string, retry_after_ms?: number): Down {
  const error: WayfareError = { code: `close_${code}`, message: reason || `connection closed with ${code}` };
  if (code >= 4200 && code <= 4299) return { kind: 'stop', error };
  if (code >= 4100 && code <= 4199) return { kind: 'token', error };
  return { kind: 'retry', retry_after_ms, serverSpoke: code >= 4000 && code <= 4099, error };
}

/** Statuses and error bodies of SSE and polling, where they concern the whole request. */
export function downOfError(status: number, error: WayfareError, told: boolean): Down {
  if (status === 401 || error.code === 'unauthorized') return { kind: 'token', error };
  // Without a body of ours it is some proxy that says no, and another transport may pass.
  if (told && (error.code === 'forbidden' || error.code === 'malformed' || error.code === 'invalid')) return { kind: 'stop', error };
  return { kind: 'retry', retry_after_ms: error.retry_after_ms, serverSpoke: told, error };
}
