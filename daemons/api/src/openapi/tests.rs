//! The document against the table, the file against the document.

use super::{DOCUMENT, document, rows};
use crate::routes;
use serde_json::Value;
use std::{collections::BTreeSet, fs, path::Path};

fn operations(document: &Value) -> Vec<(String, String, Value)> {
    let paths = document["paths"].as_object().unwrap();
    let of = |(path, item): (&String, &Value)| {
        let methods = item.as_object().unwrap().clone().into_iter();
        methods
            .map(|(method, operation)| (path.clone(), method.to_uppercase(), operation))
            .collect::<Vec<_>>()
    };
    paths.iter().flat_map(of).collect()
}

#[test]
fn the_file_is_what_the_code_says() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/openapi.json");
    let made = document::text();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&file, made).unwrap();
        return;
    }
    let known = fs::read_to_string(&file).unwrap_or_default();
    assert!(
        made == known,
        "docs/openapi.json is not what the code says: UPDATE_DOCS=1 cargo test -p api openapi"
    );
    assert_eq!(DOCUMENT, known, "the daemon was built before the file");
}

#[test]
fn every_row_is_in_the_document_and_nothing_else_is() {
    let document = document::document();
    let shown: BTreeSet<(String, String)> =
        operations(&document).into_iter().map(|(path, method, _)| (path, method)).collect();
    let rows: BTreeSet<(String, String)> =
        routes::everything().map(|(path, row)| (path, row.method.to_owned())).collect();
    assert_eq!(shown, rows);
}

#[test]
fn words_are_said_of_every_row_and_of_nothing_else() {
    let said: Vec<(bool, &str, &str)> =
        rows::all().iter().map(|(below, doc)| (*below, doc.method, doc.path)).collect();
    let said_once: BTreeSet<_> = said.iter().copied().collect();
    assert_eq!(said.len(), said_once.len(), "something is said twice");
    let rows: BTreeSet<_> =
        routes::everything().map(|(path, row)| (path.starts_with("/api/"), row.method, row.path)).collect();
    let (lost, silent): (Vec<_>, Vec<_>) =
        (said_once.difference(&rows).collect(), rows.difference(&said_once).collect());
    assert!(lost.is_empty(), "in daemons/api/src/openapi, but no row: {lost:?}");
    assert!(silent.is_empty(), "nothing is said in daemons/api/src/openapi of the rows {silent:?}");
}

#[test]
fn every_operation_has_words_a_role_a_way_in_and_its_failures() {
    let document = document::document();
    let mut names = BTreeSet::new();
    for (path, method, operation) in operations(&document) {
        let place = format!("{method} {path}");
        assert!(names.insert(operation["operationId"].as_str().unwrap().to_owned()), "{place}");
        assert!(operation["summary"].as_str().is_some_and(|text| !text.is_empty()), "{place}");
        let role = operation["x-role"].as_str().unwrap();
        assert!(["nobody", "viewer", "operator", "admin"].contains(&role), "{place}");
        assert_eq!(operation["x-changes"], !matches!(&*method, "GET" | "HEAD" | "OPTIONS"), "{place}");
        let ways = operation["security"].as_array().unwrap();
        let answers = operation["responses"].as_object().unwrap();
        assert!(answers.keys().any(|status| status.starts_with(['1', '2'])), "{place}");
        assert!(answers.contains_key("500"), "{place}");
        if role != "nobody" {
            assert!(ways.len() >= 4, "{place}");
            for status in ["400", "401", "403", "503"] {
                assert!(answers.contains_key(status), "{place}: {status}");
            }
        }
        for param in operation["parameters"].as_array().into_iter().flatten() {
            assert!(param["description"].as_str().is_some_and(|text| !text.is_empty()), "{place}: {param}");
        }
        let open = path.matches('{').count();
        let of_path = operation["parameters"].as_array().into_iter().flatten();
        assert_eq!(of_path.filter(|param| param["in"] == "path").count(), open, "{place}");
        let tags: Vec<&Value> = document["tags"].as_array().unwrap().iter().map(|tag| &tag["name"]).collect();
        assert!(tags.contains(&&operation["tags"][0]), "{place}: no such tag");
    }
}

#[test]
fn every_reference_leads_somewhere_and_every_part_is_used() {
    let document = document::document();
    let mut used = BTreeSet::new();
    references(&document, &mut used);
    for reference in &used {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
    for kind in ["schemas", "responses"] {
        for name in document["components"][kind].as_object().unwrap().keys() {
            assert!(used.contains(&format!("#/components/{kind}/{name}")), "nobody refers to {kind}/{name}");
        }
    }
}

fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            if let Some(Value::String(reference)) = map.get("$ref") {
                found.insert(reference.clone());
            }
            map.values().for_each(|value| references(value, found));
        }
        Value::Array(list) => list.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}
