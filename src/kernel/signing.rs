//! Signed modules, and the keys that the configuration names (Documentation/admin-guide/module-signing.rst).

use std::path::PathBuf;

use super::config::{self, Values};
use super::make::Make;
use super::spec::KernelSpec;

/// Options that name a file with a key or certificates.
const FILES: [&str; 2] = ["MODULE_SIG_KEY", "SYSTEM_TRUSTED_KEYS"];

/// What kbuild takes for a wish to make a key of its own.
const GENERATED: &str = "\"certs/signing_key.pem\"";

/// What a person should know about the key of this configuration.
pub fn warning(values: &Values) -> Option<&'static str> {
    let generated = values.is_y("MODULE_SIG") && values.get("MODULE_SIG_KEY") == GENERATED;
    generated.then_some(
        "CONFIG_MODULE_SIG: the kernel's build makes a key for its modules, another one in each build directory, so \
         nobody can reproduce this kernel; name an RSA key of your own with \
         `--set 'CONFIG_MODULE_SIG_KEY=\"/path/to/key.pem\"'` and the same inputs give the same bytes again",
    )
}

/// The files of keys that fragments and `--set` name by their full path: inputs like any other.
pub fn files(spec: &KernelSpec) -> Vec<(String, PathBuf)> {
    // A fragment that cannot be read is told of when it is merged.
    let asked = config::requests(&spec.fragments, &spec.sets).unwrap_or_default();
    let named = asked.into_iter().filter(|request| FILES.contains(&request.symbol.as_str()));
    named
        .map(|request| (request.symbol, PathBuf::from(request.value.trim_matches('"'))))
        .filter(|(_, path)| path.is_absolute())
        .collect()
}

/// The key that `modules_install` signs every module with, if it does: a file, or a token (`pkcs11:`).
pub fn module_key(values: &Values, make: &Make) -> Option<PathBuf> {
    if !values.is_y("MODULE_SIG_ALL") {
        return None;
    }
    let key = values.get("MODULE_SIG_KEY").trim_matches('"');
    if key.starts_with("pkcs11:") {
        return Some(PathBuf::from(key));
    }
    // What kbuild made lies in the object directory, what somebody put there in the source.
    let ours = make.obj().join(key);
    Some(if ours.exists() { ours } else { make.source().join(key) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_key_that_kbuild_makes_is_warned_of() {
        let warned = |text: &str| warning(&Values::parse(text)).is_some();
        let generated = "CONFIG_MODULE_SIG_KEY=\"certs/signing_key.pem\"\n";
        assert!(warned(&format!("CONFIG_MODULE_SIG=y\n{generated}")));
        assert!(!warned(generated));
        assert!(!warned("CONFIG_MODULE_SIG=y\nCONFIG_MODULE_SIG_KEY=\"/keys/mine.pem\"\n"));
    }
}
