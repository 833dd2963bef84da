//! People and records: tokens, drivers, stores, trips.
