//! Cross toolchains as data: `toolchains/*.toml`.
