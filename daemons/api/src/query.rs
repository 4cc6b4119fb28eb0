//! Query parameters: the first of a name wins, unknown ones are ignored (section 4).

use crate::{failure::Failure, openapi};
use actix_web::{FromRequest, HttpRequest, dev::Payload};
use model::check::Checked;
use std::{
    collections::BTreeSet,
    future::{Ready, ready},
};

/// The parameters of a request, decoded. Never fails: what is not there is missed by who asks for it.
#[derive(Debug, Clone, Default)]
pub struct Query {
    pairs: Vec<(String, String)>,
    /// What the API's document knows, in builds for debugging: a handler that reads anything else is a mistake.
    known: Option<&'static BTreeSet<String>>,
}

impl Query {
    /// Reads what stands behind the question mark.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        Self::of(form_urlencoded::parse(text.as_bytes()).into_owned().collect())
    }

    /// Parameters that came another way.
    #[must_use]
    pub(crate) const fn of(parameters: Vec<(String, String)>) -> Self {
        Self { pairs: parameters, known: None }
    }

    /// The text of a parameter.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        debug_assert!(
            self.known.is_none_or(|known| known.contains(name)),
            "the parameter {name} is read and stands in no document: daemons/api/src/openapi says how"
        );
        self.pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Every parameter, in the order they came.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// A parameter that must be there.
    pub fn required<T>(&self, name: &str, check: impl FnOnce(&str) -> Checked<T>) -> Result<T, Failure> {
        self.optional(name, check)?.ok_or_else(|| Failure::invalid(format!("{name}: missing")))
    }

    /// A parameter that may be missing; when it is there it must be right.
    pub fn optional<T>(
        &self,
        name: &str,
        check: impl FnOnce(&str) -> Checked<T>,
    ) -> Result<Option<T>, Failure> {
        self.get(name).map(check).transpose().map_err(|why| Failure::invalid(format!("{name}: {why}")))
    }

    /// A switch that is off unless given.
    pub fn flag(&self, name: &str) -> Result<bool, Failure> {
        Ok(self.optional(name, model::check::boolean)?.unwrap_or(false))
    }
}

impl FromRequest for Query {
    type Error = Failure;
    type Future = Ready<Result<Self, Failure>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let query = Self::parse(request.query_string());
        let known = if cfg!(debug_assertions) { openapi::parameters(request) } else { None };
        ready(Ok(Self { known, ..query }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::check;
    use proptest::prelude::*;

    #[test]
    fn the_first_of_a_name_wins() {
        let query = Query::parse("a=1&b=&a=2&c=x%2Cy+z");
        assert_eq!((query.get("a"), query.get("b"), query.get("c")), (Some("1"), Some(""), Some("x,y z")));
        assert_eq!(query.get("d"), None);
    }

    #[test]
    fn missing_and_wrong_are_both_validator_errors() {
        let query = Query::parse("state=on");
        for result in [query.required("state", check::boolean), query.required("wait", check::boolean)] {
            assert_eq!(result.map_err(|failure| failure.class.name()), Err("ValidatorError"));
        }
        assert_eq!(query.flag("wait"), Ok(false));
    }

    proptest! {
        #[test]
        fn no_query_panics(text in ".{0,200}") {
            let _ = Query::parse(&text).get("a");
        }
    }
}
