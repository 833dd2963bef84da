/** "4 s", "2 min", "1 h 5 min": whole units, rounded down, never negative. */
export function duration(span_ms: number): string {
  const seconds = Math.max(0, Math.floor(span_ms / 1000));
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  const rest = minutes % 60;
  return rest === 0 ? `${Math.floor(minutes / 60)} h` : `${Math.floor(minutes / 60)} h ${rest} min`;
}

/** How old something is: "4 s ago", or "just now" within the second. */
export function age(at_ms: number, now_ms: number): string {
  return now_ms - at_ms < 1000 ? 'just now' : `${duration(now_ms - at_ms)} ago`;
}
