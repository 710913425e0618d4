//! Command line: arguments only, one file per command.
