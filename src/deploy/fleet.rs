//! Many boards: in parallel with a limit, some first, and no further after too many failures.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use super::Place;
use crate::error::{Error, Exit, Result};
use crate::progress::Progress;

/// How a fleet is worked through.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Boards at once.
    pub parallel: usize,
    /// Boards that must all have ended well before the others begin.
    pub canary: usize,
    /// Failures after which no further board is begun; `None`: all get their turn.
    pub max_failures: Option<usize>,
}

/// What became of one board.
#[derive(Debug)]
pub struct Fate<T> {
    /// Which.
    pub place: Place,
    /// `None`: not begun.
    pub result: Option<Result<T>>,
}

/// Does `work` on each board, in order. One board's failure is its own.
pub fn run<T: Send>(
    places: &[Place],
    pace: Pace,
    progress: &dyn Progress,
    work: impl Fn(&Place, &dyn Progress) -> Result<T> + Sync,
) -> Vec<Fate<T>> {
    let canary = pace.canary.min(places.len());
    let (first, rest) = places.split_at(canary);
    let failed = |fates: &[Fate<T>]| fates.iter().filter(|fate| matches!(fate.result, Some(Err(_)))).count();
    let mut fates = some(first, pace, 0, progress, &work);
    let failures = failed(&fates);
    if !first.is_empty() && failures > 0 {
        fates.extend(rest.iter().map(|place| Fate { place: place.clone(), result: None }));
        return fates;
    }
    fates.extend(some(rest, pace, failures, progress, &work));
    fates
}

fn some<T: Send>(
    places: &[Place],
    pace: Pace,
    failures: usize,
    progress: &dyn Progress,
    work: &(impl Fn(&Place, &dyn Progress) -> Result<T> + Sync),
) -> Vec<Fate<T>> {
    let queue = Mutex::new((places.iter().enumerate().collect::<VecDeque<_>>(), failures));
    let fates = Mutex::new(
        places.iter().map(|place| Fate { place: place.clone(), result: None }).collect::<Vec<_>>(),
    );
    std::thread::scope(|scope| {
        for _ in 0..pace.parallel.clamp(1, places.len().max(1)) {
            scope.spawn(|| {
                loop {
                    let (at, place) = {
                        let mut queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
                        if pace.max_failures.is_some_and(|max| queue.1 >= max)
                            || crate::interrupt::requested()
                        {
                            return;
                        }
                        let Some(next) = queue.0.pop_front() else { return };
                        next
                    };
                    let result = work(place, progress);
                    if let Err(error) = &result {
                        queue.lock().unwrap_or_else(PoisonError::into_inner).1 += 1;
                        if places.len() > 1 {
                            let what = error.chain().next().unwrap_or_default();
                            progress.warn(&format!("{}: {what}", place.host));
                        }
                    }
                    fates.lock().unwrap_or_else(PoisonError::into_inner)[at].result = Some(result);
                }
            });
        }
    });
    fates.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// The failure of a fleet: the first of its boards decides the exit status. `None` when all is well.
pub fn failure<T>(fates: &[Fate<T>]) -> Option<Error> {
    let failed: Vec<&Error> = fates.iter().filter_map(|fate| fate.result.as_ref()?.as_ref().err()).collect();
    let skipped = fates.iter().filter(|fate| fate.result.is_none()).count();
    let first = failed.first()?;
    let mut error = if failed.iter().any(|error| error.exit() == Exit::Interrupted) {
        Error::interrupted_in(format!("the deploy to {} boards", fates.len())).better_hint(
            "the same command goes on from there; a board on trial goes back by itself unless that confirms it in time",
        )
    } else {
        Error::new(format!("{} of {} boards failed", failed.len(), fates.len())).with_exit(first.exit())
    };
    if skipped > 0 {
        error = error.caused_by(format!("{skipped} were not begun"));
    }
    Some(error)
}
