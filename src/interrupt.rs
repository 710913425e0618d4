//! Ctrl-C and SIGTERM: a flag that every long loop looks at.
//!
//! The first signal sets the flag; work stops at the next [`check`], children are killed by
//! [`crate::exec`], partial files stay under their `.partial` names. The second one ends the process
//! at once (signal-hook's conditional shutdown).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{Error, Result};

static FLAG: std::sync::OnceLock<Arc<AtomicBool>> = std::sync::OnceLock::new();

fn flag() -> &'static Arc<AtomicBool> {
    FLAG.get_or_init(|| Arc::new(AtomicBool::new(false)))
}

/// Installs the handlers. Called once, by `main`.
pub fn install() -> Result<()> {
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM, signal_hook::consts::SIGHUP] {
        // The order matters: with the flag already set, the second signal ends the process.
        signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(flag()))
            .and_then(|_| signal_hook::flag::register(signal, Arc::clone(flag())))
            .map_err(|cause| Error::new("cannot install the signal handlers").caused_by(cause))?;
    }
    Ok(())
}

/// True once a signal came.
pub fn requested() -> bool {
    flag().load(Ordering::Relaxed)
}

/// Fails with the `interrupted` error once a signal came.
pub fn check() -> Result<()> {
    if requested() { Err(Error::interrupted()) } else { Ok(()) }
}
