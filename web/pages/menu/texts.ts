import type { Cause } from './house.js';

/** A sentence for the restaurant. Of pictures the server's own is one; of refused requests some are for programs. */
export function causeText(cause: Cause | undefined): string {
  if (cause === undefined) return 'Something went wrong.';
  switch (cause.code) {
    case 'client_line':
      return 'The server cannot be reached.';
    case 'client_file':
      return 'This file cannot be read from the device any more. Please choose it again.';
    case 'unauthorized':
      return 'This link has expired. Please open a new one.';
    case 'forbidden':
      return 'This link may look at pictures but not change them.';
    case 'ended':
      return 'This upload was taken back, or has expired.';
    case 'internal':
    case 'not_ready':
    case 'draining':
    case 'overloaded':
    case 'not_durable':
      return 'The server cannot take it just now.';
    default:
      return sentence(cause.message);
  }
}

/** Why the page itself cannot be shown. */
export function doorText(cause: Cause): string {
  if (cause.code === 'unauthorized') return 'That token was refused: it has expired, or is none of this server.';
  if (cause.code === 'forbidden') return 'That token is not of a store or its operator.';
  if (cause.code === 'not_found') return 'There is no such store, or the token is of another one.';
  return causeText(cause);
}

export function sentence(text: string): string {
  const begun = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?…]$/.test(begun) ? begun : `${begun}.`;
}

export function sizeText(bytes: number): string {
  if (bytes < 1_000_000) return `${Math.ceil(bytes / 1_000)} kB`;
  return `${(bytes / 1_000_000).toFixed(1).replace('.0', '')} MB`;
}

/** When it goes on by itself. */
export function waitText(again_ms: number): string {
  if (again_ms >= 90_000) return `Goes on by itself in ${Math.round(again_ms / 60_000)} minutes.`;
  return 'Goes on by itself.';
}
