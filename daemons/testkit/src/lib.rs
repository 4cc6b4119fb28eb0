//! A whole appliance in a temporary directory.
