//! bimg builds bootable images for embedded boards.
//!
//! Data flows one way:
//!
//! ```text
//! boards/rpi4.toml -> Board -> Plan -> stages -> artifacts -> out/rpi4/rpi4.img
//! ```

pub mod arch;
pub mod ask;
pub mod board;
pub mod boot;
pub mod cli;
pub mod data;
pub mod deploy;
pub mod device_tree;
pub mod digest;
pub mod disk;
pub mod doctor;
pub mod emulate;
pub mod error;
pub mod exec;
pub mod filesystem;
pub mod flash;
pub mod fsx;
pub mod image;
pub mod import;
pub mod input;
pub mod interrupt;
pub mod kernel;
pub mod ops;
pub mod plan;
pub mod progress;
pub mod rootfs;
pub mod signature;
pub mod source;
pub mod ssh;
pub mod sums;
pub mod target;
pub mod toolchain;
pub mod tree;
pub mod ui;
pub mod units;
pub mod version;
pub mod workdir;
