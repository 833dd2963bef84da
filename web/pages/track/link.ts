export interface TrackLink {
  readonly topic: string;
  readonly token: string;
}

/** The link's secret is in the fragment, which browsers keep to themselves: it is in no request and no log. */
export function readLink(fragment: string): TrackLink | undefined {
  const members = new URLSearchParams(fragment.replace(/^#/, ''));
  const token = members.get('token')?.trim();
  const trip = members.get('trip')?.trim();
  if (!token || !trip || !/^[\w-]{1,80}$/.test(trip)) return undefined;
  return { topic: `trip:${trip}`, token };
}
