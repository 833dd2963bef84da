//! Named fields and their JSON values, as they travel on state topics.
//!
//! A patch is one piece of text, `"phase":"arrived","position":{…}`, made once by the writer, and the places of its fields in
//! it. Whoever delivers it copies the text; nobody parses it.

use std::borrow::Cow;

use bytes::Bytes;
use smallvec::SmallVec;

/// Name of a field: one of a few constants, or read from elsewhere.
pub type Name = Cow<'static, str>;

/// Place of one field in a text of members: the name, and where its value lies.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Mark {
    name: Name,
    value_start: u32,
    value_end: u32,
}

/// Collects fields for one publish. Reusable: [`Fields::clear`] keeps the memory.
#[derive(Debug, Default, Clone)]
pub struct Fields {
    text: Vec<u8>,
    marks: SmallVec<[Mark; 6]>,
}

impl Fields {
    /// No fields yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a field whose value `write` appends as JSON. A name may be set once per collection.
    pub fn set(&mut self, name: impl Into<Name>, write: impl FnOnce(&mut Vec<u8>)) -> &mut Self {
        let name = name.into();
        debug_assert!(self.marks.iter().all(|mark| mark.name != name), "{name} set twice");
        if !self.text.is_empty() {
            self.text.push(b',');
        }
        write_name(&mut self.text, &name);
        let value_start = self.text.len() as u32;
        write(&mut self.text);
        self.marks.push(Mark { name, value_start, value_end: self.text.len() as u32 });
        self
    }

    /// Adds a field whose value is already JSON.
    pub fn set_json(&mut self, name: impl Into<Name>, json: &str) -> &mut Self {
        self.set(name, |out| out.extend_from_slice(json.as_bytes()))
    }

    /// Adds a null: the field is gone.
    pub fn set_null(&mut self, name: impl Into<Name>) -> &mut Self {
        self.set_json(name, "null")
    }

    /// Whether nothing was set.
    pub fn is_empty(&self) -> bool {
        self.marks.is_empty()
    }

    /// Each field's name, and whether it is being removed.
    pub(crate) fn names(&self) -> impl Iterator<Item = (&Name, bool)> {
        let removed = |mark: &Mark| &self.text[mark.value_start as usize..mark.value_end as usize] == b"null";
        self.marks.iter().map(move |mark| (&mark.name, removed(mark)))
    }

    /// Each field's name and JSON value.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Name, &[u8])> {
        self.marks.iter().map(|mark| (&mark.name, &self.text[mark.value_start as usize..mark.value_end as usize]))
    }

    /// Bytes of the text.
    pub(crate) fn bytes(&self) -> usize {
        self.text.len()
    }

    /// These fields after `newer` ones were set too: of a field in both, the newer value stays.
    pub(crate) fn merged(&self, newer: &Self) -> Self {
        let mut merged = Self::new();
        let older = self.iter().filter(|(name, _)| newer.marks.iter().all(|mark| mark.name != **name));
        for (name, value) in older.chain(newer.iter()) {
            merged.set(name.clone(), |out| out.extend_from_slice(value));
        }
        merged
    }

    /// Forgets the fields, keeps the memory.
    pub fn clear(&mut self) {
        self.text.clear();
        self.marks.clear();
    }

    /// What was collected, ready to travel. Allocates once.
    pub fn patch(&self) -> Patch {
        Patch { text: Bytes::copy_from_slice(&self.text), marks: self.marks.clone() }
    }
}

/// Names are constants or ids: nothing in them needs escaping in JSON.
fn write_name(text: &mut Vec<u8>, name: &str) {
    debug_assert!(name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\'), "{name}");
    text.push(b'"');
    text.extend_from_slice(name.as_bytes());
    text.extend_from_slice(b"\":");
}

/// Changed fields, immutable and shared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patch {
    text: Bytes,
    marks: SmallVec<[Mark; 6]>,
}

impl Patch {
    /// `"a":1,"b":2`, the inside of a JSON object.
    pub fn text(&self) -> &Bytes {
        &self.text
    }

    /// Each field's name and value; the value shares the patch's memory.
    pub fn fields(&self) -> impl Iterator<Item = (&Name, Bytes)> {
        self.marks.iter().map(|mark| (&mark.name, self.text.slice(mark.value_start as usize..mark.value_end as usize)))
    }
}

/// The whole state of a topic: each field's newest value. They stand in the order in which they first appeared here, which means nothing: members
/// are equal if their fields are.
#[derive(Debug, Clone, Default)]
pub struct Members(Vec<(Name, Bytes)>);

impl PartialEq for Members {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().all(|(name, value)| other.get(name) == Some(value))
    }
}

impl Eq for Members {}

impl FromIterator<(Name, Bytes)> for Members {
    /// Of fields that occur once.
    fn from_iter<I: IntoIterator<Item = (Name, Bytes)>>(fields: I) -> Self {
        Self(fields.into_iter().collect())
    }
}

impl Members {
    /// Applies a patch: a null removes its field.
    pub fn apply(&mut self, patch: &Patch) {
        for (name, value) in patch.fields() {
            let known = self.0.iter().position(|(known, _)| known == name);
            match (known, value.as_ref() == b"null") {
                (Some(place), false) => self.0[place].1 = value,
                (Some(place), true) => {
                    self.0.remove(place);
                }
                (None, false) => {
                    // Fields are few and appear once: no room is kept for more.
                    self.0.reserve_exact(1);
                    self.0.push((name.clone(), value));
                }
                (None, true) => {}
            }
        }
    }

    /// The JSON value of a field.
    pub fn get(&self, name: &str) -> Option<&Bytes> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    /// Each field's name and value.
    pub fn iter(&self) -> impl Iterator<Item = (&Name, &Bytes)> {
        self.0.iter().map(|(name, value)| (name, value))
    }

    /// How many fields there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no fields.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Appends the inside of the JSON object.
    pub fn write(&self, out: &mut Vec<u8>) {
        for (place, (name, value)) in self.0.iter().enumerate() {
            if place > 0 {
                out.push(b',');
            }
            write_name(out, name);
            out.extend_from_slice(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(members: &Members) -> String {
        let mut out = Vec::new();
        members.write(&mut out);
        String::from_utf8(out).expect("ASCII")
    }

    #[test]
    fn patches_replace_add_and_remove() {
        let mut members = Members::default();
        let mut fields = Fields::new();
        fields.set_json("a", "1").set_json("b", r#"{"x":2}"#);
        assert_eq!(&fields.patch().text()[..], br#""a":1,"b":{"x":2}"#);
        members.apply(&fields.patch());
        fields.clear();
        fields.set_json("b", "3").set_null("a").set_null("never").set_json("c", "4");
        members.apply(&fields.patch());
        assert_eq!(text(&members), r#""b":3,"c":4"#);
        let mut whole = Fields::new();
        whole.set_json("c", "4").set_json("b", "3");
        let mut other = Members::default();
        other.apply(&whole.patch());
        assert_eq!(members, other, "whatever the order");
        assert_eq!(members.get("c").map(|value| &value[..]), Some(&b"4"[..]));
    }
    #[test]
    fn of_merged_fields_the_newer_value_stays() {
        let (mut older, mut newer) = (Fields::new(), Fields::new());
        older.set_json("a", "1").set_json("b", "2");
        newer.set_null("b").set_json("c", "3");
        assert_eq!(&older.merged(&newer).patch().text()[..], br#""a":1,"b":null,"c":3"#);
    }
}
