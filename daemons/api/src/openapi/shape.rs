//! What a JSON value looks like: schemas, and the named parts they refer to.

use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// Schemas by the names they are referred to.
pub(super) type Parts = BTreeMap<String, Value>;

/// A schema with everything it refers to.
#[derive(Debug, Clone)]
pub(super) struct Shape {
    pub(super) schema: Value,
    pub(super) parts: Parts,
}

/// The schema of one of our types, by its name.
pub(super) fn of<T: ToSchema>() -> Shape {
    let mut known = vec![(T::name().into_owned(), T::schema())];
    T::schemas(&mut known);
    let parts = known.into_iter().map(|(name, schema)| (name, serde_json::to_value(schema).unwrap()));
    Shape { schema: reference(&T::name()), parts: parts.collect() }
}

/// A schema that is written down here.
pub(super) const fn raw(schema: Value) -> Shape {
    Shape { schema, parts: Parts::new() }
}

/// A schema by its name, defined by [`super::document`].
pub(super) fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

pub(super) fn text(about: &str) -> Shape {
    raw(json!({"type": "string", "description": about}))
}

pub(super) fn whole(about: &str) -> Shape {
    raw(json!({"type": "integer", "description": about}))
}

pub(super) fn truth(about: &str) -> Shape {
    raw(json!({"type": "boolean", "description": about}))
}

/// Any object.
pub(super) fn anything(about: &str) -> Shape {
    raw(json!({"type": "object", "description": about}))
}

pub(super) fn list(item: Shape) -> Shape {
    Shape { schema: json!({"type": "array", "items": item.schema}), parts: item.parts }
}

/// An object by keys that nobody knows beforehand.
pub(super) fn map(item: Shape) -> Shape {
    Shape { schema: json!({"type": "object", "additionalProperties": item.schema}), parts: item.parts }
}

/// This, or null.
pub(super) fn nullable(shape: Shape) -> Shape {
    let mut schema = shape.schema;
    match schema.get_mut("type") {
        Some(kind) if kind.is_string() => *kind = json!([kind.clone(), "null"]),
        _ => schema = json!({"oneOf": [schema, {"type": "null"}]}),
    }
    Shape { schema, parts: shape.parts }
}

/// An object that has all of these keys.
pub(super) fn object<const N: usize>(fields: [(&str, Shape); N]) -> Shape {
    let required: Vec<&str> = fields.iter().map(|(name, _)| *name).collect();
    let required = json!(required);
    let mut shape = optional(fields);
    shape.schema["required"] = required;
    shape
}

/// An object that may have these keys.
pub(super) fn optional<const N: usize>(fields: [(&str, Shape); N]) -> Shape {
    let mut parts = Parts::new();
    let mut properties = Map::new();
    for (name, shape) in fields {
        properties.insert(name.to_owned(), shape.schema);
        parts.extend(shape.parts);
    }
    Shape { schema: json!({"type": "object", "properties": properties}), parts }
}

/// Both at once.
pub(super) fn both(one: Shape, other: Shape) -> Shape {
    let mut parts = one.parts;
    parts.extend(other.parts);
    Shape { schema: json!({"allOf": [one.schema, other.schema]}), parts }
}
