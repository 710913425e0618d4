//! The kernel pipeline: configure, check, make, install modules, collect artifacts.
