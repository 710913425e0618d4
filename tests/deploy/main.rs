//! `bimg deploy` and `bimg target` against boards in miniature: sshd on loopback, busybox and nothing else behind it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bench;
mod board;
mod boot;
#[path = "../common/mod.rs"]
mod common;
mod connection;
mod cut;
mod damage;
mod fleet;
mod foreign;
mod lab;
mod loader;
mod manage;
mod module;
mod refusals;
mod scripts;
mod share;
mod shells;
mod stopped;
mod transfer;
mod wire;
