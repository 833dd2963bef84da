/** The customer's view of a trip, topic `trip:{id}`. A member that is null on the wire is absent here. */
export interface TripState {
  phase?: Phase;
  phase_since_ms?: number;
  /** Absent before pick-up and after the end. */
  position?: Position;
  eta?: Eta;
  /** The way to the next stop; absent where there is none to show. */
  route?: Route;
  /** Stops the driver makes before this drop-off. */
  stops_left?: number;
  /** Since when nothing was heard of the driver; absent while all is well. */
  silent_since_ms?: number;
  /** Why, where the phone said so: it cannot be reached, or does not share its position just now. */
  silent_reason?: 'offline' | 'paused';
  pickup?: Place;
  dropoff?: Place;
  driver?: { name?: string; vehicle?: Vehicle };
  ready_at_ms?: number;
  reference?: string;
}

export type Phase =
  | 'unassigned'
  | 'assigned'
  | 'to_pickup'
  | 'at_pickup'
  | 'to_dropoff'
  | 'arriving'
  | 'arrived'
  | 'delivered'
  | 'cancelled'
  | 'failed';

export type Vehicle = 'foot' | 'bicycle' | 'motorbike' | 'car' | 'van';

export interface Position {
  lat: number;
  lon: number;
  heading_deg?: number;
  speed_mps?: number;
  accuracy_m?: number;
  /** When it was measured, server's clock. */
  t_ms: number;
}

export interface Eta {
  at_ms: number;
  low_ms?: number;
  high_ms?: number;
  pickup_at_ms?: number;
  distance_m?: number;
  /** What it rests on: `roads_live`, `roads`, `straight_line_live`, `straight_line`. */
  basis?: string;
  /** Why it moved by much since it was told last. */
  cause?: 'traffic' | 'detour' | 'waiting' | null;
}

export interface Route {
  /** From where the driver was when it was told: see `decodePolyline6`. */
  polyline6: string;
  length_m: number;
}

export interface Place {
  lat: number;
  lon: number;
  name?: string;
}

/** An event of the log topic `fences`. */
export interface FenceEvent {
  id: string;
  kind: 'enter' | 'inside' | 'dwell' | 'exit';
  fence: string;
  name: string;
  driver: string;
  at_ms: number;
  position: { lat: number; lon: number };
}

/** What keeps a phone from sending positions, as it said itself. */
export interface Outage {
  reason: 'location_off' | 'permission' | 'airplane' | 'app_gone' | 'battery' | 'stopped' | 'other';
  since_ms: number;
}

/** The topic `driver:{id}`, and of a trip's operator view what is about its driver's phone. */
export interface DriverState {
  position?: Position;
  silent_since_ms?: number;
  /** Told when the phone says so, before it counts as silent. */
  outage?: Outage;
  phone?: { battery_pct?: number; charging?: boolean };
  available?: boolean;
  trips?: string[];
  driver?: { name?: string; vehicle?: Vehicle };
}

/** What a driver on duty is free to do. */
export type DriverStatus = 'available' | 'busy' | 'finishing';

/** A driver's field in the topic `area:{cell}` of a fine cell (H3 resolution 7). */
export interface AreaMarker extends Position {
  standing: boolean;
  vehicle: Vehicle;
  status: DriverStatus;
  /** In the operator's own units. */
  capacity?: number | null;
}

/** The topic `area:{cell}`: markers by driver id, or, in coarse cells, numbers by `{part}.{writer}`. */
export type AreaState = Record<string, AreaMarker> | Record<string, number>;

/** An event of a store's log, topic `store:{id}`. */
export interface StoreEvent {
  id: string;
  kind: string;
  trip: string;
  phase: Phase;
  at_ms: number;
  version: number;
}
