//! Whole command lines against `kvmd` itself, with fake devices behind it, over its unix socket and over the network.

#[cfg(test)]
mod appliance;
#[cfg(test)]
mod between;
#[cfg(test)]
mod rows;
#[cfg(test)]
mod shell;
#[cfg(test)]
mod upload;
#[cfg(test)]
mod verbs;
