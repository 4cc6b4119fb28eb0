//! What can be said of a row, beside what the route table says already.

use super::shape::{Shape, raw};
use model::ErrorClass;
use serde_json::{Value, json};

/// The media type of answers in the envelope.
pub(super) const JSON: &str = "application/json";
/// The media type of text.
pub(super) const TEXT: &str = "text/plain";
/// What is no text.
pub(super) const BYTES: &str = "application/octet-stream";

/// A parameter of the query or a header.
#[derive(Debug, Clone)]
pub(super) struct Param {
    pub(super) name: &'static str,
    pub(super) about: String,
    pub(super) schema: Value,
    pub(super) required: bool,
}

impl Param {
    fn new(name: &'static str, about: &str, schema: Value) -> Self {
        Self { name, about: about.to_owned(), schema, required: false }
    }

    /// It must be there.
    pub(super) fn required(self) -> Self {
        Self { required: true, ..self }
    }

    /// What it is when it is not there.
    pub(super) fn default(mut self, value: impl Into<Value>) -> Self {
        self.schema["default"] = value.into();
        self
    }

    /// As it may be written in a document.
    pub(super) fn example(mut self, value: impl Into<Value>) -> Self {
        self.schema["examples"] = json!([value.into()]);
        self
    }
}

/// A switch.
pub(super) fn switch(name: &'static str, about: &str) -> Param {
    Param::new(name, about, json!({"type": "boolean"}))
}

/// A whole number. A bound that is not given is none.
pub(super) fn whole(
    name: &'static str,
    about: &str,
    from: impl Into<Option<i64>>,
    to: impl Into<Option<i64>>,
) -> Param {
    Param::new(name, about, bounded("integer", from.into().map(Into::into), to.into().map(Into::into)))
}

/// A number with decimals.
pub(super) fn number(
    name: &'static str,
    about: &str,
    from: impl Into<Option<f64>>,
    to: impl Into<Option<f64>>,
) -> Param {
    Param::new(name, about, bounded("number", from.into().map(Into::into), to.into().map(Into::into)))
}

fn bounded(kind: &str, from: Option<Value>, to: Option<Value>) -> Value {
    let mut schema = json!({"type": kind});
    if let Some(from) = from {
        schema["minimum"] = from;
    }
    if let Some(to) = to {
        schema["maximum"] = to;
    }
    schema
}

/// One of these words, in any case.
pub(super) fn word(name: &'static str, about: &str, words: &[&str]) -> Param {
    Param::new(name, about, json!({"type": "string", "enum": words}))
}

/// Text, as long as it may be.
pub(super) fn text(name: &'static str, about: &str, longest: impl Into<Option<u32>>) -> Param {
    let mut schema = json!({"type": "string"});
    if let Some(longest) = longest.into() {
        schema["maxLength"] = longest.into();
    }
    Param::new(name, about, schema)
}

/// Text of this form.
pub(super) fn like(name: &'static str, about: &str, pattern: &str) -> Param {
    Param::new(name, about, json!({"type": "string", "pattern": pattern}))
}

/// Items with commas between.
pub(super) fn list(name: &'static str, about: &str, item: &Value) -> Param {
    Param::new(name, about, json!({"type": "array", "items": item}))
}

/// A request's body.
#[derive(Debug, Clone)]
pub(super) struct Body {
    /// By media type.
    pub(super) content: Vec<(&'static str, Shape)>,
    pub(super) about: &'static str,
    pub(super) required: bool,
}

/// One answer that is no failure.
#[derive(Debug, Clone)]
pub(super) struct Told {
    pub(super) status: u16,
    pub(super) about: &'static str,
    /// Media type and what is in it; none for an answer without a body.
    pub(super) content: Option<(&'static str, Shape)>,
}

/// All there is to say of a row.
#[derive(Debug, Clone)]
pub(super) struct Doc {
    pub(super) method: &'static str,
    pub(super) path: &'static str,
    pub(super) summary: &'static str,
    pub(super) about: &'static str,
    pub(super) query: Vec<Param>,
    pub(super) headers: Vec<Param>,
    /// Parts of the path: name, meaning, one that is likely to be there.
    pub(super) places: Vec<(&'static str, &'static str, &'static str)>,
    pub(super) body: Option<Body>,
    pub(super) told: Vec<Told>,
    pub(super) fails: Vec<ErrorClass>,
    /// Failures in plain text.
    pub(super) plain: Vec<(u16, &'static str)>,
}

impl Doc {
    fn new(method: &'static str, path: &'static str, summary: &'static str) -> Self {
        Self {
            method,
            path,
            summary,
            about: "",
            query: Vec::new(),
            headers: Vec::new(),
            places: Vec::new(),
            body: None,
            told: Vec::new(),
            fails: Vec::new(),
            plain: Vec::new(),
        }
    }

    pub(super) fn get(path: &'static str, summary: &'static str) -> Self {
        Self::new("GET", path, summary)
    }

    pub(super) fn post(path: &'static str, summary: &'static str) -> Self {
        Self::new("POST", path, summary)
    }

    /// Of any other method.
    pub(super) fn of(method: &'static str, path: &'static str, summary: &'static str) -> Self {
        Self::new(method, path, summary)
    }

    /// More than fits into the summary.
    pub(super) fn about(self, about: &'static str) -> Self {
        Self { about, ..self }
    }

    /// Takes this parameter.
    pub(super) fn query(mut self, param: Param) -> Self {
        self.query.push(param);
        self
    }

    /// Reads this header.
    pub(super) fn header(mut self, param: Param) -> Self {
        self.headers.push(param);
        self
    }

    /// A part of its path.
    pub(super) fn place(mut self, name: &'static str, about: &'static str, example: &'static str) -> Self {
        self.places.push((name, about, example));
        self
    }

    /// Takes a body; several calls are several forms of it.
    pub(super) fn body(mut self, media: &'static str, about: &'static str, shape: Shape) -> Self {
        let body = self.body.get_or_insert(Body { content: Vec::new(), about, required: true });
        body.content.push((media, shape));
        self
    }

    /// A body that need not be there.
    pub(super) fn body_if_any(self, media: &'static str, about: &'static str, shape: Shape) -> Self {
        let mut doc = self.body(media, about, shape);
        if let Some(body) = &mut doc.body {
            body.required = false;
        }
        doc
    }

    /// Answers 200 with this in the envelope.
    pub(super) fn tells(self, shape: Shape) -> Self {
        let envelope = super::shape::object([("ok", raw(json!({"const": true}))), ("result", shape)]);
        self.answers(200, "Done.", JSON, envelope)
    }

    /// Answers with something else.
    pub(super) fn answers(
        mut self,
        status: u16,
        about: &'static str,
        media: &'static str,
        shape: Shape,
    ) -> Self {
        self.told.push(Told { status, about, content: Some((media, shape)) });
        self
    }

    /// Answers with a head only.
    pub(super) fn answers_empty(mut self, status: u16, about: &'static str) -> Self {
        self.told.push(Told { status, about, content: None });
        self
    }

    /// Fails in these ways, beside those that every row has.
    pub(super) fn fails<const N: usize>(mut self, classes: [ErrorClass; N]) -> Self {
        self.fails.extend(classes);
        self
    }

    /// Fails with a text and no envelope.
    pub(super) fn fails_plainly(mut self, status: u16, about: &'static str) -> Self {
        self.plain.push((status, about));
        self
    }
}
