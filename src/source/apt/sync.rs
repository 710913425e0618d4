//! A mirror that is out of step: its package lists are not those that its signed Release file names, while it is
//! being updated or when one of its servers is behind. Trying again later is all that helps.

use crate::error::Result;
use crate::progress::Progress;
use crate::source::Patience;
use crate::source::http::wait;

/// What to do about it.
pub const OUT_OF_STEP: &str = "the mirror is being updated, or one of its servers is behind: try again in a while, \
                               or name another mirror in the host's apt configuration";

/// A mirror takes longer than a bad line.
const LONGER: u32 = 5;

/// True for apt's words about such a mirror.
pub fn is_out_of_step(said: &str) -> bool {
    ["Hash Sum mismatch", "File has unexpected size"].iter().any(|words| said.contains(words))
}

/// Attempts until the mirror is in step, with longer and longer pauses between them, or fails for good. By
/// default there are five, in 75 seconds.
pub fn patiently<T>(
    patience: &Patience,
    progress: &dyn Progress,
    mut attempt: impl FnMut() -> Result<T>,
) -> Result<T> {
    let mut pause = patience.back_off * LONGER;
    let again = patience.attempts.saturating_sub(1);
    for nth in 1..=again {
        match attempt() {
            Err(error) if error.chain().any(is_out_of_step) => {
                progress.note(&format!(
                    "the mirror's lists do not fit together; trying again in {pause:?} ({nth} of {again})"
                ));
                wait(pause)?;
                pause *= 2;
            }
            result => return result,
        }
    }
    attempt()
}
