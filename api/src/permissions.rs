//! Which role may call which route. What is not in the table is refused: deny by default.
//!
//! Beyond the table, a handler narrows to what is the bearer's own (a store's trips, a customer's trips).

use wayfare_wire::Role::{self, Admin, Customer, Driver, Service, Share, Store, Support};

const MANAGE: &[Role] = &[Admin, Service];
const READ: &[Role] = &[Support, Admin, Service];
const STORE_MANAGE: &[Role] = &[Store, Admin, Service];
const STORE_READ: &[Role] = &[Store, Support, Admin, Service];
const TRIP_READ: &[Role] = &[Customer, Store, Support, Admin, Service];
const WATCHERS: &[Role] = &[Customer, Store, Share, Support, Admin, Service];

/// Method, path as in the OpenAPI document, roles.
pub const TABLE: &[(&str, &str, &[Role])] = &[
    ("POST", "/v1/stores", MANAGE),
    ("GET", "/v1/stores", READ),
    ("GET", "/v1/stores/{id}", STORE_READ),
    ("PATCH", "/v1/stores/{id}", STORE_MANAGE),
    ("POST", "/v1/stores/{id}/revoke", MANAGE),
    ("POST", "/v1/fences", MANAGE),
    ("GET", "/v1/fences", READ),
    ("GET", "/v1/fences/{id}", READ),
    ("PUT", "/v1/fences/{id}", MANAGE),
    ("DELETE", "/v1/fences/{id}", MANAGE),
    ("POST", "/v1/drivers", MANAGE),
    ("GET", "/v1/drivers", READ),
    ("GET", "/v1/drivers/{id}", &[Driver, Support, Admin, Service]),
    ("PATCH", "/v1/drivers/{id}", MANAGE),
    ("DELETE", "/v1/drivers/{id}", MANAGE),
    ("GET", "/v1/drivers/{id}/export", MANAGE),
    ("POST", "/v1/drivers/{id}/revoke", MANAGE),
    ("GET", "/v1/drivers/{id}/deliveries", &[Driver, Support, Admin, Service]),
    ("POST", "/v1/drivers/{id}/device-keys", MANAGE),
    ("GET", "/v1/drivers/{id}/device-keys", READ),
    ("DELETE", "/v1/drivers/{id}/device-keys/{device}", MANAGE),
    ("GET", "/v1/quarantine", READ),
    ("GET", "/v1/audit", MANAGE),
    ("GET", "/v1/erasures", READ),
    ("GET", "/v1/erasures/{id}", READ),
    ("GET", "/v1/nearby", READ),
    ("GET", "/v1/route", &[Driver, Store, Support, Admin, Service]),
    ("GET", "/v1/traffic", READ),
    ("GET", "/v1/arrivals", READ),
    ("GET", "/v1/arrivals/summary", READ),
    ("POST", "/v1/trips", STORE_MANAGE),
    ("GET", "/v1/trips", STORE_READ),
    ("GET", "/v1/trips/{id}", TRIP_READ),
    ("PATCH", "/v1/trips/{id}", STORE_MANAGE),
    ("DELETE", "/v1/trips/{id}", MANAGE),
    ("POST", "/v1/trips/{id}/assign", MANAGE),
    ("POST", "/v1/trips/{id}/cancel", STORE_MANAGE),
    ("POST", "/v1/trips/{id}/complete", &[Driver, Admin, Service]),
    ("POST", "/v1/trips/{id}/fail", &[Driver, Admin, Service]),
    ("POST", "/v1/trips/{id}/accept", &[Driver, Admin, Service]),
    ("POST", "/v1/trips/{id}/decline", &[Driver, Admin, Service]),
    ("POST", "/v1/trips/{id}/status", &[Driver, Store, Support, Admin, Service]),
    ("GET", "/v1/trips/{id}/track", STORE_READ),
    ("DELETE", "/v1/trips/{id}/track", MANAGE),
    ("POST", "/v1/tokens", STORE_MANAGE),
    ("DELETE", "/v1/tokens/{id}", STORE_MANAGE),
    ("GET", "/v1/keys", MANAGE),
    ("POST", "/v1/keys", MANAGE),
    ("DELETE", "/v1/keys/{id}", MANAGE),
    ("POST", "/v1/tickets", WATCHERS),
    ("POST", "/v1/uploads", STORE_MANAGE),
    ("GET", "/v1/uploads/{id}", STORE_READ),
    ("HEAD", "/v1/uploads/{id}", STORE_MANAGE),
    ("PATCH", "/v1/uploads/{id}", STORE_MANAGE),
    ("DELETE", "/v1/uploads/{id}", STORE_MANAGE),
    ("GET", "/v1/stores/{id}/menu", &[Customer, Store, Support, Admin, Service]),
    ("GET", "/v1/stores/{id}/menu/{item}/images", &[Customer, Store, Support, Admin, Service]),
    ("PUT", "/v1/stores/{id}/menu/{item}/images", STORE_MANAGE),
    ("GET", "/v1/pictures/dead", READ),
    ("DELETE", "/v1/pictures/dead/{job}", MANAGE),
    ("POST", "/v1/pictures/dead/{job}/retry", MANAGE),
];

/// Whether the role may call the route at all.
pub fn allowed(method: &str, path: &str, role: Role) -> bool {
    TABLE.iter().any(|(known, route, roles)| *known == method && *route == path && roles.contains(&role))
}
