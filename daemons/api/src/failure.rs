//! What a client sees when something fails: every device error gets its class here, and nowhere else.
//!
//! The matches are exhaustive on purpose: a new device error does not compile until somebody decides what it is
//! called on the wire. The class decides the status (`model::ErrorClass`).

use actix_web::{HttpResponse, ResponseError, http::StatusCode};
use model::{ErrorClass, envelope};

/// A failed request: the class programs branch on, the message people read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {message}", class.name())]
pub struct Failure {
    /// The class on the wire.
    pub class: ErrorClass,
    /// One line for people.
    pub message: String,
}

impl Failure {
    /// A failure of that class.
    pub fn new(class: ErrorClass, message: impl Into<String>) -> Self {
        Self { class, message: message.into() }
    }

    /// A parameter that is missing or wrong.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorClass::Validator, message)
    }

    /// Nobody we know.
    #[must_use]
    pub fn unauthorized() -> Self {
        Self::new(ErrorClass::Unauthorized, "Unauthorized")
    }

    /// Somebody who may not.
    #[must_use]
    pub fn forbidden() -> Self {
        Self::new(ErrorClass::Forbidden, "Forbidden")
    }

    /// No picture at the moment.
    #[must_use]
    pub fn unavailable() -> Self {
        Self::new(ErrorClass::Unavailable, "Service Unavailable")
    }

    /// Our own fault. The cause is logged, not told.
    pub fn internal(cause: impl std::fmt::Display) -> Self {
        log::error!("a request failed: {cause}");
        Self::new(ErrorClass::Internal, "Internal Server Error")
    }
}

impl ResponseError for Failure {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.class.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn error_response(&self) -> HttpResponse {
        let mut answer = crate::answer::json(self.status_code(), envelope::failed(self.class, &self.message));
        // For the audit log.
        answer.extensions_mut().insert(self.class);
        answer
    }
}

impl From<model::check::Invalid> for Failure {
    fn from(error: model::check::Invalid) -> Self {
        Self::invalid(error.to_string())
    }
}

impl From<auth::Denied> for Failure {
    fn from(error: auth::Denied) -> Self {
        match error {
            auth::Denied::Invalid(why) => Self::invalid(why.to_string()),
            auth::Denied::Unauthorized => Self::unauthorized(),
            auth::Denied::Forbidden => Self::forbidden(),
            auth::Denied::Busy => Self::unavailable(),
            auth::Denied::Failed(why) => Self::internal(why),
        }
    }
}

impl From<atx::Error> for Failure {
    fn from(error: atx::Error) -> Self {
        let message = error.to_string();
        match error {
            atx::Error::Disabled => Self::new(ErrorClass::AtxDisabled, message),
            atx::Error::Busy => Self::new(ErrorClass::AtxIsBusy, message),
            atx::Error::Line { .. } | atx::Error::Stopped => Self::internal(message),
        }
    }
}

impl From<gpio::Error> for Failure {
    fn from(error: gpio::Error) -> Self {
        let class = match error {
            gpio::Error::ChannelNotFound(_) => ErrorClass::GpioChannelNotFound,
            gpio::Error::SwitchNotSupported(_) => ErrorClass::GpioSwitchNotSupported,
            gpio::Error::PulseNotSupported(_) => ErrorClass::GpioPulseNotSupported,
            gpio::Error::DriverOffline { .. } => ErrorClass::GpioDriverOffline,
            gpio::Error::ChannelIsBusy(_) => ErrorClass::GpioChannelIsBusy,
            gpio::Error::Stopped => return Self::internal(error),
        };
        Self::new(class, error.to_string())
    }
}

impl From<msd::Error> for Failure {
    fn from(error: msd::Error) -> Self {
        let class = match error {
            msd::Error::Disabled => ErrorClass::MsdDisabled,
            msd::Error::Offline => ErrorClass::MsdOffline,
            msd::Error::Busy => ErrorClass::MsdIsBusy,
            msd::Error::Connected => ErrorClass::MsdConnected,
            msd::Error::Disconnected => ErrorClass::MsdDisconnected,
            msd::Error::ImageNotSelected => ErrorClass::MsdImageNotSelected,
            msd::Error::UnknownImage(_) => ErrorClass::MsdUnknownImage,
            msd::Error::ImageExists(_) => ErrorClass::MsdImageExists,
            msd::Error::ImageStatic(_) => ErrorClass::MsdImageStatic,
            msd::Error::RemoteDisabled => ErrorClass::MsdRemoteDisabled,
            msd::Error::Locked => ErrorClass::MsdLocked,
            msd::Error::Permissions(_) => ErrorClass::MsdPermissions,
            msd::Error::NoSuchOffset { .. } => ErrorClass::MsdOffset,
            msd::Error::BadName { .. }
            | msd::Error::NoSpace { .. }
            | msd::Error::TooMuchData(_)
            | msd::Error::Digest { .. } => ErrorClass::Validator,
            msd::Error::Remount(_)
            | msd::Error::Io { .. }
            | msd::Error::Cancelled
            | msd::Error::Drive(_)
            | msd::Error::Stopped => {
                log::error!("mass storage: {error}");
                ErrorClass::Msd
            }
        };
        Self::new(class, error.to_string())
    }
}

impl From<ocr::Error> for Failure {
    fn from(error: ocr::Error) -> Self {
        let class = match error {
            ocr::Error::UnknownLanguage(_) => ErrorClass::Validator,
            ocr::Error::Disabled | ocr::Error::Busy | ocr::Error::TooSlow(_) | ocr::Error::Failed(_) => {
                ErrorClass::Ocr
            }
        };
        Self::new(class, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_somebody_else_does_is_a_conflict_and_what_is_not_fitted_a_bad_request() {
        for (failure, class, status) in [
            (Failure::from(atx::Error::Busy), "AtxIsBusyError", 409),
            (Failure::from(atx::Error::Disabled), "AtxDisabledError", 400),
            (Failure::from(msd::Error::Busy), "MsdIsBusyError", 409),
            (Failure::from(msd::Error::Connected), "MsdConnectedError", 400),
            (Failure::from(gpio::Error::ChannelIsBusy("x".into())), "GpioChannelIsBusyError", 409),
            (Failure::from(gpio::Error::ChannelNotFound("x".into())), "GpioChannelNotFoundError", 400),
            (Failure::unavailable(), "UnavailableError", 503),
        ] {
            assert_eq!((failure.class.name(), failure.status_code().as_u16()), (class, status));
        }
    }
}
