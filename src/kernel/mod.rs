//! A kernel from source: configured, compiled, its modules staged.
//!
//! 1. `freshness`: is there anything to do? Answered from [`stamp`] without starting make.
//! 2. `configure`: defconfig, fragments, `--set`; merged by [`config`], settled by `olddefconfig`, then
//!    checked; [`kconfig`] explains what Kconfig did not honour. Left out while nothing that it reads has changed.
//! 3. `compile`: one make for images, device trees and modules; [`diagnose`] explains a failure.
//! 4. `stage`: `modules_install`, modules from outside the tree, depmod.
//! 5. The stamp is written last; it is removed before anything changes. So a build killed at any
//!    instant is stale, and the next one continues in the same object directory.
//!
//! The source tree is never written to (kbuild's `O=`).

mod build;
mod compile;
pub mod config;
mod configure;
pub mod diagnose;
mod goals;
pub mod kconfig;
pub mod listing;
pub mod make;
mod module;
pub mod packed;
mod repair;
mod run;
mod signing;
mod source_tree;
mod spec;
mod stage;
pub mod staged;
pub mod stamp;
mod uimage;

pub use build::build;
pub use goals::make as make_goals;
pub use module::{build_module, is_module_name, module_name};
pub use source_tree::check;
pub use spec::{Fragment, KernelArtifacts, KernelSpec, image_targets};
pub use stamp::{Freshness, freshness};
