//! The walk against `serde_json`'s own reading, and against what is no JSON.

use super::*;
use quickcheck::{Arbitrary, Gen, quickcheck};
use serde_json::{Map, Value};

impl<'text> Json<'text> {
    /// The value of a text that is JSON.
    pub(crate) fn of_valid(text: &'text str) -> Self {
        Self::of(text).unwrap()
    }
}

/// A JSON text with white space wherever it may stand.
#[derive(Clone, Debug)]
struct Document(String);

impl Arbitrary for Document {
    fn arbitrary(source: &mut Gen) -> Self {
        let mut text = String::new();
        push_value(source, 4, &mut text);
        Self(text)
    }
}

fn push_value(source: &mut Gen, levels: usize, text: &mut String) {
    let scalars = ["null", "true", "false", "0", "-1.5e+7", "12", "1E9"];
    let is_container = levels > 0 && bool::arbitrary(source);
    if !is_container && bool::arbitrary(source) {
        text.push_str(source.choose(&scalars).unwrap());
    } else if !is_container {
        push_string(source, text);
    } else {
        let is_object = bool::arbitrary(source);
        text.push(if is_object { '{' } else { '[' });
        push_space(source, text);
        for number in 0..u8::arbitrary(source) % 5 {
            if number > 0 {
                text.push(',');
                push_space(source, text);
            }
            if is_object {
                push_string(source, text);
                push_space(source, text);
                text.push(':');
                push_space(source, text);
            }
            push_value(source, levels - 1, text);
            push_space(source, text);
        }
        text.push(if is_object { '}' } else { ']' });
    }
}

fn push_string(source: &mut Gen, text: &mut String) {
    let pieces = [
        "a",
        "é",
        "\u{1f600}",
        "[",
        "}",
        ",",
        ":",
        " ",
        "\\\"",
        "\\\\",
        "\\/",
        "\\b",
        "\\f",
        "\\n",
        "\\r",
        "\\t",
        "\\u0041",
        "\\u20Ac",
        "\\uD83d\\ude00",
        "\\u0000",
    ];
    text.push('"');
    for _ in 0..u8::arbitrary(source) % 6 {
        text.push_str(source.choose(&pieces).unwrap());
    }
    text.push('"');
}

fn push_space(source: &mut Gen, text: &mut String) {
    text.push_str(source.choose(&["", "", " ", "\t\r\n"]).unwrap());
}

/// What the walk finds, built.
fn built(json: Json<'_>) -> Value {
    let string = |json| String::from_utf8(crate::text::bytes_of(json).unwrap()).unwrap();
    if let Some(elements) = json.elements() {
        return Value::Array(elements.map(built).collect());
    }
    if let Some(mut parts) = json.names_and_values() {
        let mut object = Map::new();
        while let Some(name) = parts.next() {
            object.insert(string(name), built(parts.next().unwrap()));
        }
        return Value::Object(object);
    }
    if json.get().starts_with('"') {
        return Value::String(string(json));
    }
    serde_json::from_str(json.get()).unwrap()
}

/// Looks at every part, as deep as there are parts.
fn walk(json: Json<'_>) {
    let _ = crate::text::bytes_of(json);
    for parts in [json.elements(), json.names_and_values()] {
        parts.into_iter().flatten().take(50).for_each(walk);
    }
}

quickcheck! {
    fn walk_agrees_with_serde_json(document: Document) -> bool {
        let text = document.0;
        built(Json::of_valid(&text)) == serde_json::from_str::<Value>(&text).unwrap()
    }

    fn members_agree_with_serde_json(document: Document) -> bool {
        let text = format!(" {{\"a\":1,\"{{\" : {}\n, \"b\":[]}} ", document.0);
        let [a, b, c, other] = members(&text, "a b c {").unwrap();
        [a, b, c].map(|found| found.map(Json::get)) == [Some("1"), Some("[]"), None]
            && other.map(Json::get) == Some(document.0.as_str())
    }

    fn text_cut_or_changed_anywhere_never_panics(document: Document, at: usize, byte: u8) -> bool {
        let mut bytes = document.0.into_bytes();
        let at = at % bytes.len();
        for is_cut in [false, true] {
            bytes[at] = byte;
            if is_cut {
                bytes.truncate(at + 1);
            }
            let text = String::from_utf8_lossy(&bytes);
            let _ = members::<1>(&text, "a");
            walk(Json(&text));
        }
        true
    }

    fn any_bytes_never_panic(bytes: Vec<u8>) -> bool {
        let text = String::from_utf8_lossy(&bytes);
        walk(Json(&text));
        for opening in ["[", "{", "\"", "[\"\\u", "\"\\"] {
            walk(Json(&format!("{opening}{text}")));
        }
        let _ = members::<1>(&text, "a");
        true
    }
}

#[test]
fn last_of_repeated_members_counts_and_unknown_ones_are_skipped() {
    let json = r#"{"a":1,"x":{"a":[1e999]},"\ud800":0,"b":null,"\u0061":2}"#;
    let [a, b, c] = members(json, "a b c").unwrap();
    assert_eq!(a.map(Json::get), Some("2"));
    assert_eq!(b.map(Json::get), Some("null"));
    assert!(present(b).is_none() && c.is_none());
}

#[test]
fn text_after_the_object_is_an_error() {
    assert!(members::<1>(r#"{"a":1} x"#, "a").is_err());
}

#[test]
fn other_values_are_no_objects() {
    for json in ["[]", "1", " \"{\" ", "null"] {
        let error = members::<1>(json, "a").unwrap_err();
        assert_eq!(error.to_string(), "not a JSON object");
    }
}

#[test]
fn depth_costs_no_stack() {
    let text = format!("{{\"a\":{}{}}}", "[".repeat(1 << 20), "]".repeat(1 << 20));
    let [a] = members(&text, "a").unwrap();
    assert_eq!(a.map(|value| value.get().len()), Some(2 << 20));
}
