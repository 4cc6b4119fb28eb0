//! What this machine is: platform, health, uptime, fan, extras.
