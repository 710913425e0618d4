//! Writing an image to a drive, fast, and never to the wrong one.

pub mod device;
