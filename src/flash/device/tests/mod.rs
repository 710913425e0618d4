//! Discovery, rules and opening, on trees that look like machines.

mod choose;
mod discovery;
mod locate;
mod open;
mod rules;
mod settle;
pub(crate) mod tree;
