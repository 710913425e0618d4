//! Drives: which there are, which may be written to, and one of them opened for nobody but us.
//!
//! ```text
//! /sys, /proc, /run/udev -> System           host.rs reads, once
//! System + what was named -> Place           locate.rs: a drive, or a file that stands in for one
//! System + Drive + Rules -> Obstacle...      rules.rs: everything that is in the way, told at once
//! Listed drives -> the one that is meant     choose.rs: asked, where somebody can be asked
//! Drive -> File                              open.rs: exclusively, and examined again once open
//! Drive -> nothing mounted; table read again, ejected      settle.rs
//! ```
//!
//! Everything but opening works on what [`Host`] read from a root directory, so a test hands in a tree of
//! its own in place of `/`.

mod choose;
mod host;
mod list;
mod locate;
mod open;
mod rules;
mod settle;
mod system;

pub use choose::{Loss, choose, confirm, confirm_file, mounted};
pub use host::Host;
pub use list::{Listed, table};
pub use locate::{Place, locate};
pub use open::{open_drive, open_file};
pub use rules::{Obstacle, Rules, refusal};
pub use settle::{finish, unmount};
pub use system::{Bus, Content, Device, Kind, Mount, Number, System};

#[cfg(test)]
pub(crate) mod tests;
