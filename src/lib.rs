//! bimg builds bootable images for embedded boards.
//!
//! Data flows one way:
//!
//! ```text
//! boards/rpi4.toml -> Board -> Plan -> stages -> artifacts -> out/rpi4/rpi4.img
//! ```

pub mod digest;
pub mod error;
pub mod exec;
pub mod fsx;
pub mod interrupt;
pub mod progress;
pub mod tree;
pub mod units;
