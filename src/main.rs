//! bimg: parse, run, render the error, exit code.

fn main() {}
