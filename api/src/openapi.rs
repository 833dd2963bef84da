//! The OpenAPI document, generated from the handlers and the table of permissions.

use serde_json::{Value, json};
use utoipa::OpenApi;

use crate::permissions::TABLE;
use crate::routes::{
    arrivals, audit, device_keys, drivers, erasures, fences, images, keys, menu, nearby, offers, pages, quarantine,
    roads, stores, tokens, tracks, trips, uploads,
};

#[derive(OpenApi)]
#[openapi(
    info(title = "Wayfare", description = "Records of a delivery-tracking engine. Live data travel by the protocol described in PROTOCOL.md."),
    paths(
        stores::create, stores::list, stores::read, stores::update, stores::revoke,
        fences::create, fences::list, fences::read, fences::replace, fences::delete,
        drivers::create, drivers::list, drivers::read, drivers::update, drivers::revoke,
        device_keys::create, device_keys::list, device_keys::revoke, quarantine::list,
        nearby::nearby,
        roads::route, roads::traffic, arrivals::list, arrivals::summary,
        trips::create, trips::list, trips::read, trips::update, trips::assign, trips::cancel, trips::complete, trips::fail,
        offers::list, offers::accept, offers::decline, offers::status,
        tracks::read, tracks::erase,
        erasures::driver, erasures::trip, erasures::export, erasures::list, erasures::read, audit::list,
        tokens::create, tokens::revoke, tokens::ticket, keys::list, keys::create, keys::withdraw,
        uploads::create, uploads::read, uploads::offset, uploads::append, uploads::terminate,
        menu::list, menu::read, menu::replace, images::dead, images::forget, images::retry, images::file,
        pages::streets, pages::web_config, pages::openapi, pages::jwks,
    ),
    tags(
        (name = "stores", description = "Where orders are picked up"),
        (name = "drivers", description = "Who brings them"),
        (name = "fences", description = "Pieces of the map to hear about"),
        (name = "trips", description = "Orders on their way"),
        (name = "audit", description = "Who did what, and who was refused"),
        (name = "erasures", description = "What was erased, and how far it is"),
        (name = "tokens", description = "Who may do what, and for how long"),
        (name = "pictures", description = "Photographs for menus: uploads that survive a bad line (tus 1.0), and what is made of them"),
        (name = "pages", description = "Open to everyone"),
    )
)]
struct Document;

/// The document. Every operation that needs a token says which roles it is open to (`x-roles`), and how it refuses.
pub fn document() -> Value {
    let mut document = serde_json::to_value(Document::openapi()).unwrap_or_default();
    document["components"]["securitySchemes"] =
        json!({ "token": { "type": "http", "scheme": "bearer", "bearerFormat": "JWT" } });
    document["components"]["schemas"]["Error"] = json!({
        "type": "object",
        "required": ["code", "message", "retry"],
        "properties": {
            "code": { "type": "string", "description": "For a program; the list is in PROTOCOL.md" },
            "message": { "type": "string", "description": "For a person" },
            "retry": { "type": "boolean", "description": "Whether the same request may succeed later, unchanged" },
            "retry_after_ms": { "type": "integer" },
            "field": { "type": "string" },
        },
    });
    let error = json!({
        "description": "Refused",
        "content": { "application/json": { "schema": { "$ref": "#/components/schemas/Error" } } },
    });
    for (method, path, roles) in TABLE {
        let operation = &mut document["paths"][*path][method.to_lowercase()];
        let roles: Vec<&str> = roles.iter().map(|role| role.name()).collect();
        operation["x-roles"] = json!(roles);
        operation["security"] = json!([{ "token": [] }]);
        operation["responses"]["4XX"] = error.clone();
    }
    document
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn document_and_table_name_the_same_operations() {
        let document = document();
        let mut guarded = Vec::new();
        for (path, operations) in document["paths"].as_object().expect("paths") {
            for (method, operation) in operations.as_object().expect("operations") {
                let open = operation["tags"][0] == "pages";
                assert!(open || operation["summary"].is_string(), "{method} {path} has a summary");
                assert!(operation["responses"].is_object(), "{method} {path} was made by a handler");
                if !open {
                    guarded.push((method.to_uppercase(), path.clone()));
                }
            }
        }
        let mut table: Vec<_> =
            TABLE.iter().map(|(method, path, _)| ((*method).to_owned(), (*path).to_owned())).collect();
        guarded.sort();
        table.sort();
        assert_eq!(guarded, table);
    }
}
