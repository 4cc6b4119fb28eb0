//! The error classes a client can see, and the HTTP status each one is sent with (section 3).
//!
//! One table: a class cannot exist without a status, and a device error cannot become an answer without
//! somebody choosing its class in `api`.

macro_rules! classes {
    ($( $status:literal $( $variant:ident = $name:literal )+ ; )+) => {
        /// The class of a failed request. Clients branch on the name, people read the message beside it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum ErrorClass {
            $( $( #[doc = $name] $variant, )+ )+
        }

        impl ErrorClass {
            /// Every class there is, in the order of the table.
            pub const ALL: &[Self] = &[ $( $( Self::$variant, )+ )+ ];

            /// The class as it is written in `result.error`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $( $( Self::$variant => $name, )+ )+ }
            }

            /// The HTTP status of an answer of this class.
            #[must_use]
            pub const fn status(self) -> u16 {
                match self { $( $( Self::$variant )|+ => $status, )+ }
            }
        }
    };
}

classes! {
    400
        Validator = "ValidatorError"
        AtxDisabled = "AtxDisabledError"
        MsdDisabled = "MsdDisabledError"
        MsdOffline = "MsdOfflineError"
        MsdConnected = "MsdConnectedError"
        MsdDisconnected = "MsdDisconnectedError"
        MsdImageNotSelected = "MsdImageNotSelected"
        MsdUnknownImage = "MsdUnknownImageError"
        MsdImageExists = "MsdImageExistsError"
        MsdImageStatic = "MsdImageStaticError"
        MsdRemoteDisabled = "MsdRemoteDisabledError"
        MsdLocked = "MsdLockedError"
        MsdPermissions = "MsdPermissionsError"
        MsdOffset = "MsdOffsetError"
        GpioChannelNotFound = "GpioChannelNotFoundError"
        GpioSwitchNotSupported = "GpioSwitchNotSupported"
        GpioPulseNotSupported = "GpioPulseNotSupported"
        GpioDriverOffline = "GpioDriverOfflineError"
        StreamerQualityNotSupported = "StreamerQualityNotSupported"
        StreamerResolutionNotSupported = "StreamerResolutionNotSupported"
        StreamerH264NotSupported = "StreamerH264NotSupported"
        StreamerEdidNotSupported = "StreamerEdidNotSupported"
        Ocr = "OcrError"
        SwitchUnknownEdid = "SwitchUnknownEdidError"
        LogReaderDisabled = "LogReaderDisabledError"
        ClientConnector = "ClientConnectorError"
        ClientResponse = "ClientResponseError"
        ClientPayload = "ClientPayloadError"
        Client = "ClientError"
        Http = "HttpError"
        NotImage = "NotImageError"
        UpdateBundle = "UpdateBundleError"
        UpdateSignature = "UpdateSignatureError"
        UpdateBoard = "UpdateBoardError"
        UpdateVersion = "UpdateVersionError"
        UpdateNothing = "UpdateNothingError"
    ;
    401 Unauthorized = "UnauthorizedError" ;
    403 Forbidden = "ForbiddenError" NotClaimed = "NotClaimedError" ;
    409
        AtxIsBusy = "AtxIsBusyError"
        MsdIsBusy = "MsdIsBusyError"
        GpioChannelIsBusy = "GpioChannelIsBusyError"
        AlreadyClaimed = "AlreadyClaimedError"
        UpdateIsBusy = "UpdateIsBusyError"
    ;
    429 ClaimThrottled = "ClaimThrottledError" ;
    500 Internal = "InternalError" Msd = "MsdError" Update = "UpdateError" ;
    503 Unavailable = "UnavailableError" ;
    507 UpdateNoSpace = "UpdateNoSpaceError" ;
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_are_unique() {
        let names: HashSet<_> = ErrorClass::ALL.iter().map(|class| class.name()).collect();
        assert_eq!(names.len(), ErrorClass::ALL.len());
    }

    #[test]
    fn the_statuses_clients_branch_on_are_the_contracts() {
        for (class, status) in [
            (ErrorClass::Validator, 400),
            (ErrorClass::Unauthorized, 401),
            (ErrorClass::Forbidden, 403),
            (ErrorClass::AtxIsBusy, 409),
            (ErrorClass::MsdIsBusy, 409),
            (ErrorClass::GpioChannelIsBusy, 409),
            (ErrorClass::Unavailable, 503),
            (ErrorClass::MsdConnected, 400),
        ] {
            assert_eq!(class.status(), status, "{}", class.name());
        }
    }
}
