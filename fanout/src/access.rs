//! Who may watch what. Deny by default.

use wayfare_bus::Members;
use wayfare_wire::state::field;
use wayfare_wire::{Claims, Role, Topic};

/// Whether the bearer may watch `topic`; `access` is the state of the trip's `access:` topic, where there is one.
pub fn may_watch(claims: &Claims, topic: &Topic, access: Option<&Members>) -> bool {
    if topic.is_internal() {
        return false;
    }
    if claims.role.sees_everything() {
        return true;
    }
    let names = |name| access.and_then(|members| members.get(name));
    let named =
        |name| names(name).is_some_and(|value| serde_json::from_slice::<&str>(value).is_ok_and(|id| id == claims.sub));
    match (topic, claims.role) {
        (Topic::Trip(_), Role::Customer) => named(field::CUSTOMER),
        (Topic::Trip(_) | Topic::TripOps(_), Role::Store) => named(field::STORE),
        (Topic::Trip(trip), Role::Share) => {
            let token = claims.parent.as_ref().unwrap_or(&claims.jti);
            let alive = |value: &bytes::Bytes| {
                serde_json::from_slice::<Vec<&str>>(value).is_ok_and(|shares| shares.contains(&token.as_str()))
            };
            claims.sub == trip.to_string() && names(field::SHARES).is_some_and(alive)
        }
        (Topic::Store(store), Role::Store) => claims.sub == store.to_string(),
        (Topic::Upload(upload), Role::Store) => claims.sub.parse().is_ok_and(|store| upload.is_of(store)),
        _ => false,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]
mod tests {
    use super::*;
    use wayfare_bus::Fields;
    use wayfare_wire::TokenKind;
    use wayfare_wire::ids::{Driver, Store, Trip, Upload};

    fn claims(role: Role, sub: impl ToString) -> Claims {
        Claims {
            iss: "wayfare".into(),
            aud: "wayfare".into(),
            sub: sub.to_string(),
            role,
            kind: TokenKind::Access,
            jti: "tok_a".into(),
            parent: None,
            iat: 0,
            exp: 0,
            until: None,
            kid: "".into(),
        }
    }

    #[test]
    fn every_role_on_every_topic() {
        let (trip, other, store) = (Trip(1), Trip(2), Store(3));
        let mut fields = Fields::new();
        fields.set_json(field::CUSTOMER, "\"cus\"").set_json(field::STORE, &format!("\"{store}\""));
        fields.set_json(field::SHARES, "[\"tok_a\"]");
        let mut access = Members::default();
        access.apply(&fields.patch());
        let topics = [
            Topic::Trip(trip),
            Topic::TripOps(trip),
            Topic::Driver(Driver(9)),
            Topic::Store(store),
            Topic::Fences,
            Topic::Plan(Driver(9)),
            Topic::Access(trip),
            Topic::Area("872830828ffffff".parse().unwrap()),
            Topic::Upload(Upload::of(store, 7)),
        ];
        let check = |claims: Claims, expected: [bool; 9]| {
            let allowed = topics.map(|topic| may_watch(&claims, &topic, Some(&access)));
            assert_eq!(allowed, expected, "{claims:?}");
        };
        const NOTHING: [bool; 9] = [false; 9];
        check(claims(Role::Customer, "cus"), [true, false, false, false, false, false, false, false, false]);
        check(claims(Role::Customer, "foreign"), NOTHING);
        check(claims(Role::Customer, store), NOTHING);
        check(claims(Role::Store, store), [true, true, false, true, false, false, false, false, true]);
        check(claims(Role::Store, Store(4)), NOTHING);
        check(claims(Role::Share, trip), [true, false, false, false, false, false, false, false, false]);
        check(claims(Role::Share, other), NOTHING);
        check(Claims { jti: "tok_b".into(), ..claims(Role::Share, trip) }, NOTHING);
        let ticket = Claims { jti: "tok_b".into(), parent: Some("tok_a".into()), ..claims(Role::Share, trip) };
        check(ticket, [true, false, false, false, false, false, false, false, false]);
        check(claims(Role::Driver, Driver(9)), NOTHING);
        for role in [Role::Support, Role::Admin, Role::Service] {
            check(claims(role, "x"), [true, true, true, true, true, false, false, true, true]);
        }
        assert!(!may_watch(&claims(Role::Customer, "cus"), &Topic::Trip(trip), None), "no list, no entry");
    }
}
