//! Board profiles: `boards/*.toml` read, validated, resolved.
