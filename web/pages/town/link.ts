/** The token of a link `/town/#token=…`: in the fragment, which browsers keep to themselves. */
export function readToken(fragment: string): string | undefined {
  return new URLSearchParams(fragment.replace(/^#/, '')).get('token')?.trim() || undefined;
}
