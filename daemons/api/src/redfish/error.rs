//! What a client sees when a request fails: the envelope of the API, as the reference answers, and beside it the
//! extended error that Redfish clients read.

use crate::{answer, body, failure::Failure};
use actix_web::{HttpResponse, ResponseError, http::StatusCode};
use model::ErrorClass;
use serde_json::{Value, json};

/// The registry the messages are of.
pub(super) const REGISTRY: &str = "Base.1.18";

/// A message of the Base registry: its name, what fills it, and a line for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message {
    id: &'static str,
    args: Vec<String>,
    text: String,
}

impl Message {
    pub(super) fn new(id: &'static str, args: &[&str], text: impl Into<String>) -> Self {
        Self { id, args: args.iter().map(|&arg| arg.to_owned()).collect(), text: text.into() }
    }

    fn show(&self) -> Value {
        json!({
            "@odata.type": "#Message.v1_1_2.Message",
            "MessageId": format!("{REGISTRY}.{}", self.id),
            "Message": self.text,
            "MessageArgs": self.args,
            "MessageSeverity": "Critical",
            "Resolution": "None.",
        })
    }

    /// What stands for a failure that was not made here.
    pub(super) fn of(class: &str, status: StatusCode, text: &str) -> Self {
        let id = match status.as_u16() {
            401 => "NoValidSession",
            403 => "InsufficientPrivilege",
            404 => "ResourceMissingAtURI",
            405 => "OperationNotAllowed",
            409 | 503 => "ResourceInUse",
            500 => "InternalError",
            _ => "GeneralError",
        };
        Self::new(id, &[], if text.is_empty() { class } else { text })
    }
}

/// The body of an action that is done, where one is wanted.
pub(super) fn success() -> Value {
    let mut message = Message::new("Success", &[], "The request was completed").show();
    message["MessageSeverity"] = "OK".into();
    json!({"@Message.ExtendedInfo": [message]})
}

/// The whole body of a failed request.
pub(super) fn body(class: &str, text: &str, message: &Message) -> String {
    json!({
        "ok": false,
        "result": {"error": class, "error_msg": text},
        "error": {
            "code": format!("{REGISTRY}.{}", message.id),
            "message": message.text,
            "@Message.ExtendedInfo": [message.show()],
        },
    })
    .to_string()
}

/// A request that failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// A device refused, or the gate's word is repeated.
    #[error(transparent)]
    Failure(#[from] Failure),
    /// The body could not be had.
    #[error(transparent)]
    Body(#[from] body::Error),
    /// Something only Redfish has a name for.
    #[error("{}", message.text)]
    Redfish {
        /// What it is sent as.
        status: StatusCode,
        /// The class in the envelope.
        class: ErrorClass,
        /// What Redfish calls it.
        message: Message,
    },
}

impl Error {
    fn bad(message: Message) -> Self {
        Self::Redfish { status: StatusCode::BAD_REQUEST, class: ErrorClass::Http, message }
    }

    /// Not a JSON object.
    pub(super) fn malformed() -> Self {
        Self::bad(Message::new("MalformedJSON", &[], "The body is no JSON object"))
    }

    /// A parameter of an action is not there.
    pub(super) fn missing(action: &str, name: &str) -> Self {
        let text = format!("{action} needs {name}");
        Self::bad(Message::new("ActionParameterMissing", &[action, name], text))
    }

    /// A parameter of an action has a value it cannot have.
    pub(super) fn parameter(action: &str, name: &str, value: &str) -> Self {
        let value: String = value.chars().take(64).collect();
        let text = format!("{action}: {value:?} is no {name}");
        Self::bad(Message::new("ActionParameterNotSupported", &[name, action], text))
    }

    /// A property cannot be set to this.
    pub(super) fn value(name: &str, value: &Value) -> Self {
        let value: String = value.to_string().chars().take(64).collect();
        let text = format!("{name} cannot be {value}");
        Self::bad(Message::new("PropertyValueNotInList", &[&value, name], text))
    }

    /// Nobody can set this property, or there is none.
    pub(super) fn property(name: &str) -> Self {
        let name: String = name.chars().take(64).collect();
        let text = format!("{name} cannot be set");
        Self::bad(Message::new("PropertyNotWritable", &[&name], text))
    }

    /// No such member. The reference answers 400 for systems and 404 for everything else.
    pub(super) fn no_system(id: &str) -> Self {
        let id: String = id.chars().take(64).collect();
        let text = format!("There is no system {id:?}");
        Self::bad(Message::new("ResourceNotFound", &["ComputerSystem", &id], text))
    }

    /// No such member.
    pub(super) fn not_found(uri: &str) -> Self {
        let text = format!("There is nothing at {uri}");
        let message = Message::new("ResourceMissingAtURI", &[uri], text);
        Self::Redfish { status: StatusCode::NOT_FOUND, class: ErrorClass::Http, message }
    }

    /// The resource is not what the client thinks it is.
    pub(super) fn precondition(text: &str) -> Self {
        let message = Message::new("PreconditionFailed", &[], text);
        Self::Redfish { status: StatusCode::PRECONDITION_FAILED, class: ErrorClass::Http, message }
    }

    /// A `$query` nobody here knows.
    pub(super) fn query(name: &str) -> Self {
        let name: String = name.chars().take(64).collect();
        let message = Message::new("QueryNotSupported", &[], format!("{name} is not supported"));
        Self::Redfish { status: StatusCode::NOT_IMPLEMENTED, class: ErrorClass::Http, message }
    }

    /// An action that is there for those who look for it, and that nobody can do.
    pub(super) fn action(name: &str) -> Self {
        let text = format!("{name} cannot be done: the firmware of the system is out of reach");
        let message = Message::new("ActionNotSupported", &[name], text);
        Self::Redfish { status: StatusCode::NOT_IMPLEMENTED, class: ErrorClass::Http, message }
    }

    /// A token or password that opens nothing.
    pub(super) fn stranger() -> Self {
        let message = Message::new("NoValidSession", &[], "No valid session");
        Self::Redfish { status: StatusCode::UNAUTHORIZED, class: ErrorClass::Unauthorized, message }
    }
}

impl From<atx::Error> for Error {
    fn from(error: atx::Error) -> Self {
        Self::Failure(error.into())
    }
}

impl From<msd::Error> for Error {
    fn from(error: msd::Error) -> Self {
        Self::Failure(error.into())
    }
}

impl ResponseError for Error {
    fn status_code(&self) -> StatusCode {
        match self {
            Self::Failure(failure) => failure.status_code(),
            Self::Body(error) => error.status_code(),
            Self::Redfish { status, .. } => *status,
        }
    }

    fn error_response(&self) -> HttpResponse {
        let status = self.status_code();
        let (class, text, message) = match self {
            Self::Failure(failure) => {
                let message = Message::of(failure.class.name(), status, &failure.message);
                (failure.class, failure.message.clone(), message)
            }
            Self::Body(error) => {
                let text = error.to_string();
                (ErrorClass::Http, text.clone(), Message::of("HttpError", status, &text))
            }
            Self::Redfish { class, message, .. } => (*class, message.text.clone(), message.clone()),
        };
        let mut answer = answer::json(status, body(class.name(), &text, &message));
        // For the audit log.
        answer.extensions_mut().insert(class);
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_client_find_their_error() {
        let error = Error::missing("ComputerSystem.Reset", "ResetType");
        assert_eq!(error.error_response().status().as_u16(), 400);
        let Error::Redfish { class, message, .. } = &error else { panic!("{error}") };
        let body: Value = serde_json::from_str(&body(class.name(), &message.text, message)).unwrap();
        assert_eq!((&body["ok"], &body["result"]["error"]), (&json!(false), &json!("HttpError")));
        assert_eq!(body["error"]["code"], "Base.1.18.ActionParameterMissing");
        assert_eq!(body["error"]["@Message.ExtendedInfo"][0]["MessageArgs"][1], "ResetType");
    }

    #[test]
    fn a_client_s_own_text_is_cut() {
        let long = "x".repeat(10_000);
        for error in [
            Error::no_system(&long),
            Error::property(&long),
            Error::query(&long),
            Error::value("a", &Value::String(long.clone())),
            Error::parameter("a", "b", &long),
        ] {
            assert!(error.to_string().len() < 200);
        }
    }
}
