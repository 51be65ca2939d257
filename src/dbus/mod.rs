//! A small synchronous D-Bus client: enough to talk to systemd, from inside a user namespace too (decision 0009).
//!
//! ```text
//! address.rs      where a bus listens
//! message.rs      messages as bytes
//! connection.rs   one connection for one command: authentication, calls, signals, a time limit
//! ```
//!
//! The reference is the D-Bus Specification, <https://dbus.freedesktop.org/doc/dbus-specification.html>.

mod address;
mod connection;
#[doc(hidden)] // Public for fuzz/.
pub mod message;

pub use self::address::{Address, parse as parse_addresses};
pub use self::connection::{Connection, Refusal};
pub use self::message::{Kind, Message};
