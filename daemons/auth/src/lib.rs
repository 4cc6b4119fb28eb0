//! Who may come in: htpasswd, sessions, TOTP, throttling.
