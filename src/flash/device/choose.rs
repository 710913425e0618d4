//! Which drive, when none was named; and whether it is really meant.

use std::fmt::Write as _;

use super::list::Listed;
use super::rules::{Obstacle, Rules};
use super::system::{Device, System};
use crate::ask::Ask;
use crate::error::{Error, Result};
use crate::units::ByteSize;

/// The only drive that may be written to, or the one that the user picks.
pub fn choose(system: &System, rules: &Rules, ask: &dyn Ask) -> Result<Device> {
    let listed = system.list(rules);
    let (good, bad): (Vec<&Listed>, Vec<&Listed>) = listed.iter().partition(|one| one.refused.is_empty());
    let device = |listed: &Listed| {
        system
            .devices
            .values()
            .find(|device| device.path() == listed.drive)
            .cloned()
            .ok_or_else(|| gone(listed))
    };
    match good.as_slice() {
        [] => Err(none(&bad)),
        [one] => device(one),
        several => device(pick(several, ask)?),
    }
}

fn gone(listed: &Listed) -> Error {
    Error::new(format!("`{}` is gone", listed.drive))
}

fn none(refused: &[&Listed]) -> Error {
    let error = refused.iter().fold(Error::new("there is no drive to write to"), |error, listed| {
        error.caused_by(format!(
            "`{}` ({}): {}",
            listed.drive,
            listed.description(),
            listed.refused.join("; ")
        ))
    });
    error.hint("plug in the card, or name a drive or a file: `bimg flash IMAGE DEVICE`")
}

fn pick<'a>(several: &[&'a Listed], ask: &dyn Ask) -> Result<&'a Listed> {
    let mut question = String::new();
    for (index, listed) in several.iter().enumerate() {
        // Writing to a String cannot fail.
        let _ = writeln!(question, "{:>3}  {}: {}", index + 1, listed.drive, listed.description());
        for held in &listed.holds {
            let _ = writeln!(question, "       {}", held.line());
        }
    }
    let _ = write!(question, "which drive? [1-{}]", several.len());
    let Some(answer) = ask.ask(&question)? else {
        let error = Error::usage("which drive?");
        let error = several.iter().fold(error, |error, listed| {
            error.caused_by(format!("`{}` ({}) could be written to", listed.drive, listed.description()))
        });
        return Err(error.hint("name one of them: `bimg flash IMAGE DEVICE`"));
    };
    let picked = answer.parse::<usize>().ok().and_then(|number| several.get(number.checked_sub(1)?).copied());
    picked.ok_or_else(|| {
        Error::usage("nothing was written").caused_by(format!("the answer `{answer}` is none of the numbers"))
    })
}

/// What is about to be overwritten, and by what.
#[derive(Debug, Clone, Copy)]
pub struct Loss<'a> {
    /// The drive, its partitions, and what has to be unmounted.
    pub target: &'a Listed,
    /// Mount points that will go.
    pub unmount: &'a [String],
    /// Name of what is written.
    pub image: &'a str,
    /// Its size, when that is known.
    pub size: Option<ByteSize>,
}

/// Asks whether the drive is the right one, to be answered with its name.
pub fn confirm(loss: &Loss, ask: &dyn Ask) -> Result<()> {
    let path = &loss.target.drive;
    let name = path.rsplit('/').next().unwrap_or(path);
    let mut text = format!("{path}: {}\n", loss.target.description());
    match loss.target.holds.as_slice() {
        [] => text.push_str("  everything on it will be lost\n"),
        holds => {
            text.push_str("  will be lost:\n");
            for held in holds {
                // Writing to a String cannot fail.
                let _ = writeln!(text, "    {}", held.line());
            }
        }
    }
    for point in loss.unmount {
        let _ = writeln!(text, "  will be unmounted: {point}");
    }
    let size = loss.size.map_or(String::new(), |size| format!(" ({size})"));
    let _ = write!(text, "to write `{}`{size} to it, type `{name}`:", loss.image);
    answered(path, name, ask.ask(&text)?)
}

/// Asks whether a file that is there may be overwritten.
pub fn confirm_file(path: &str, size: ByteSize, image: &str, ask: &dyn Ask) -> Result<()> {
    let question =
        format!("{path}: a file of {size}\n  will be overwritten\nto write `{image}` to it, type `yes`:");
    answered(path, "yes", ask.ask(&question)?)
}

fn answered(path: &str, expected: &str, answer: Option<String>) -> Result<()> {
    match answer {
        None => Err(Error::usage(format!("will not write to `{path}` unasked"))
            .caused_by("there is no terminal to ask on")
            .hint("a script says `--yes`")),
        Some(answer) if answer == expected => Ok(()),
        Some(answer) => Err(Error::new(format!("nothing was written to `{path}`"))
            .caused_by(format!("the answer was `{answer}`, not `{expected}`"))),
    }
}

/// The mount points that `--unmount` would unmount, for the question.
pub fn mounted(system: &System, drive: &Device) -> Vec<String> {
    let all = system.obstacles(drive, &Rules::default());
    let points = all.into_iter().filter_map(|obstacle| match obstacle {
        Obstacle::Mounted { point, .. } => Some(point.display().to_string()),
        _ => None,
    });
    points.collect()
}
