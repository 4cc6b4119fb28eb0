//! The front panel: power and reset buttons, power and disk lights.
