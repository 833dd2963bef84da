//! The tables, in words that SQLite and PostgreSQL both take.

/// Each statement may be run again.
pub const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS store (id TEXT PRIMARY KEY, created_ms BIGINT NOT NULL, version BIGINT NOT NULL, doc TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS driver (id TEXT PRIMARY KEY, created_ms BIGINT NOT NULL, version BIGINT NOT NULL, doc TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS trip (
    id TEXT PRIMARY KEY, created_ms BIGINT NOT NULL, version BIGINT NOT NULL, live BIGINT NOT NULL, ended_ms BIGINT,
    driver TEXT, store TEXT, customer TEXT NOT NULL, doc TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS trip_age ON trip (created_ms, id);
CREATE INDEX IF NOT EXISTS trip_driver ON trip (driver, live);
CREATE INDEX IF NOT EXISTS trip_store ON trip (store, created_ms);
CREATE INDEX IF NOT EXISTS trip_customer ON trip (customer, created_ms);
CREATE INDEX IF NOT EXISTS trip_live ON trip (live, ended_ms);
CREATE TABLE IF NOT EXISTS fence (
    id TEXT PRIMARY KEY, created_ms BIGINT NOT NULL, version BIGINT NOT NULL, doc TEXT NOT NULL, corners BIGINT NOT NULL DEFAULT 0,
    south DOUBLE PRECISION NOT NULL DEFAULT 0, west DOUBLE PRECISION NOT NULL DEFAULT 0,
    north DOUBLE PRECISION NOT NULL DEFAULT 0, east DOUBLE PRECISION NOT NULL DEFAULT 0);
CREATE INDEX IF NOT EXISTS fence_place ON fence (created_ms, id, south, north, west, east);
CREATE INDEX IF NOT EXISTS fence_corners ON fence (corners);
CREATE TABLE IF NOT EXISTS signing_key (
    id TEXT PRIMARY KEY, created_ms BIGINT NOT NULL, signs_from_ms BIGINT NOT NULL, public_key TEXT NOT NULL, pkcs8 TEXT, withdrawn_ms BIGINT);
CREATE TABLE IF NOT EXISTS token (
    id TEXT PRIMARY KEY, role TEXT NOT NULL, sub TEXT NOT NULL, issued_s BIGINT NOT NULL, expires_s BIGINT NOT NULL, revoked_s BIGINT);
CREATE INDEX IF NOT EXISTS token_sub ON token (sub, expires_s);
CREATE TABLE IF NOT EXISTS device_key (
    id TEXT PRIMARY KEY, driver TEXT NOT NULL, hash TEXT NOT NULL UNIQUE, created_ms BIGINT NOT NULL, version BIGINT NOT NULL,
    revoked_ms BIGINT, doc TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS device_key_driver ON device_key (driver, created_ms);
CREATE TABLE IF NOT EXISTS quarantine (id BIGINT PRIMARY KEY, driver TEXT NOT NULL, at_ms BIGINT NOT NULL, doc TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS quarantine_driver ON quarantine (driver, id);
CREATE INDEX IF NOT EXISTS quarantine_age ON quarantine (at_ms);
CREATE TABLE IF NOT EXISTS arrival (
    trip TEXT NOT NULL, assignment BIGINT NOT NULL, arrived_ms BIGINT NOT NULL, doc TEXT NOT NULL, PRIMARY KEY (trip, assignment));
CREATE INDEX IF NOT EXISTS arrival_age ON arrival (arrived_ms, trip);
CREATE INDEX IF NOT EXISTS trip_driver_end ON trip (driver, ended_ms);
CREATE TABLE IF NOT EXISTS assignment (
    trip TEXT NOT NULL, assignment BIGINT NOT NULL, driver TEXT NOT NULL, from_ms BIGINT NOT NULL, until_ms BIGINT, PRIMARY KEY (trip, assignment));
CREATE INDEX IF NOT EXISTS assignment_driver ON assignment (driver, until_ms);
CREATE TABLE IF NOT EXISTS track_chunk (
    trip TEXT NOT NULL, number BIGINT NOT NULL, driver TEXT NOT NULL, from_ms BIGINT NOT NULL, to_ms BIGINT NOT NULL,
    points BIGINT NOT NULL, body BYTEA NOT NULL, PRIMARY KEY (trip, number));
CREATE INDEX IF NOT EXISTS track_chunk_age ON track_chunk (to_ms);
CREATE TABLE IF NOT EXISTS erasure (
    id TEXT PRIMARY KEY, created_ms BIGINT NOT NULL, state TEXT NOT NULL, subject TEXT, doc TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS erasure_age ON erasure (created_ms, id);
CREATE INDEX IF NOT EXISTS erasure_state ON erasure (state);
CREATE TABLE IF NOT EXISTS offer (trip TEXT PRIMARY KEY, driver TEXT NOT NULL, answer_by_ms BIGINT NOT NULL);
CREATE INDEX IF NOT EXISTS offer_driver ON offer (driver);
CREATE INDEX IF NOT EXISTS offer_end ON offer (answer_by_ms);
CREATE TABLE IF NOT EXISTS upload (
    id TEXT PRIMARY KEY, store TEXT NOT NULL, sub TEXT NOT NULL, created_ms BIGINT NOT NULL, version BIGINT NOT NULL, state TEXT NOT NULL,
    received BIGINT NOT NULL, length BIGINT NOT NULL, due_ms BIGINT NOT NULL, job TEXT, doc TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS upload_store ON upload (store, state);
CREATE INDEX IF NOT EXISTS upload_sub ON upload (sub, state);
CREATE INDEX IF NOT EXISTS upload_due ON upload (state, due_ms);
CREATE INDEX IF NOT EXISTS upload_job ON upload (job);
CREATE TABLE IF NOT EXISTS upload_piece (
    upload TEXT NOT NULL, start BIGINT NOT NULL, bytes BIGINT NOT NULL, file TEXT NOT NULL, PRIMARY KEY (upload, start));
CREATE TABLE IF NOT EXISTS menu_image (
    store TEXT NOT NULL, item TEXT NOT NULL, upload TEXT NOT NULL, place BIGINT NOT NULL, PRIMARY KEY (store, item, upload));
CREATE INDEX IF NOT EXISTS menu_image_upload ON menu_image (upload);
CREATE TABLE IF NOT EXISTS outbox (
    entity TEXT NOT NULL, number BIGINT NOT NULL, created_ms BIGINT NOT NULL, payload TEXT NOT NULL, PRIMARY KEY (entity, number));
CREATE INDEX IF NOT EXISTS outbox_age ON outbox (created_ms);
";
