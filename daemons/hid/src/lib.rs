//! The keyboard and mouse of the target: a trait, its drivers, one owner.
