//! The kernels of a board: which there are, going back, removing.

use serde::Serialize;
use std::str::FromStr;

use super::facts::Facts;
use super::remote::Remote;
use crate::boot::{SlotId, SlotState, Slots};
use crate::error::{Error, Result};

/// A kernel on a board.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    /// Deployment; `image` for the kernel that came with the image.
    pub id: String,
    /// `uname -r`, where it is known.
    pub release: Option<String>,
    /// When it arrived, UTC.
    pub since: Option<String>,
    /// Bytes.
    pub size: Option<u64>,
    /// The boot loader starts it.
    pub default: bool,
    /// It runs.
    pub running: bool,
    /// It is armed, or runs unconfirmed.
    pub trial: bool,
    /// It has passed a trial.
    pub good: bool,
    /// Its trial failed.
    pub failed: bool,
}

/// All kernels: that of the image, then deployments in the order they arrived.
pub fn rows(facts: &Facts, slots: &dyn Slots) -> Vec<Row> {
    let state = facts.slots(slots).unwrap_or_default();
    let running = facts.running();
    let names = |slot: &Option<SlotId>, id: &str| slot.as_ref().is_some_and(|slot| slot.to_string() == id);
    let mut rows: Vec<Row> = facts
        .deployments
        .iter()
        .map(|(id, it)| Row {
            id: id.clone(),
            release: Some(it.release.clone()).filter(|release| !release.is_empty()),
            since: Some(it.since.clone()).filter(|since| !since.is_empty()),
            size: Some(it.size),
            default: names(&state.default, id),
            running: running == Some(id),
            trial: names(&state.trial, id) || (running == Some(id) && facts.on_trial().is_some()),
            good: it.good.is_some(),
            failed: it.log && running != Some(id),
        })
        .collect();
    rows.sort_by(|a, b| (&a.since, &a.id).cmp(&(&b.since, &b.id)));
    rows.insert(
        0,
        Row {
            id: "image".to_string(),
            release: facts.image_release().map(str::to_string),
            since: None,
            size: None,
            default: state.default.is_none(),
            running: running.is_none(),
            trial: false,
            good: true,
            failed: false,
        },
    );
    rows
}

/// The last kernel that worked, and has failed no trial since, other than the default: where a rollback goes. `None`: the
/// image's.
pub fn last_known_good(facts: &Facts, slots: &dyn Slots) -> Option<String> {
    // Below the image's own kernel there is nothing.
    let default = facts.slots(slots).unwrap_or_default().default?.to_string();
    let rank = |id: &str| facts.deployments.get(id).and_then(|it| it.good);
    // Going back twice goes back further, not forth again.
    let below = rank(&default);
    facts
        .deployments
        .iter()
        .filter(|(id, it)| **id != default && !it.boot_missing && !it.log)
        .filter_map(|(id, it)| Some((it.good?, id)))
        .map(|(rank, id)| (rank, Some(id.clone())))
        .chain(facts.image_good.map(|rank| (rank, None)))
        .filter(|(rank, _)| below.is_none_or(|below| *rank < below))
        .max()
        .and_then(|(_, id)| id)
}

/// Deployments beyond `keep`: never the default, the running, an armed one or the last known good.
pub fn superfluous(facts: &Facts, slots: &dyn Slots, keep: usize) -> Vec<String> {
    let safe = protected(facts, slots);
    let mut rest: Vec<_> = facts.deployments.iter().collect();
    // Newest confirmed first, then what never was confirmed.
    rest.sort_by_key(|(id, it)| {
        (std::cmp::Reverse(it.good), std::cmp::Reverse(it.since.clone()), (*id).clone())
    });
    rest.into_iter()
        .enumerate()
        .filter(|(place, (id, _))| *place >= keep.max(2) && !safe.contains(id))
        .map(|(_, (id, _))| id.clone())
        .collect()
}

fn protected(facts: &Facts, slots: &dyn Slots) -> Vec<String> {
    let state = facts.slots(slots).unwrap_or_default();
    let mut safe: Vec<String> =
        [state.default, state.trial].into_iter().flatten().map(|id| id.to_string()).collect();
    safe.extend(facts.running().map(str::to_string));
    safe.extend(last_known_good(facts, slots));
    safe
}

/// Finds a deployment by ID, the start of one, or a release that only one has.
pub fn find(facts: &Facts, wanted: &str) -> Result<String> {
    if wanted == "image"
        || (facts.image_release() == Some(wanted)
            && !facts.deployments.values().any(|it| it.release == wanted))
    {
        return Ok("image".to_string());
    }
    let found: Vec<&String> = facts
        .deployments
        .iter()
        .filter(|(id, it)| it.release == wanted || (wanted.len() >= 4 && id.starts_with(wanted)))
        .map(|(id, _)| id)
        .collect();
    match found.as_slice() {
        [id] => Ok((*id).clone()),
        [] => Err(Error::usage(format!("the board has no deployment `{}`", wanted.escape_debug()))
            .hint("`bimg target list` shows the kernels there")),
        several => {
            Err(Error::usage(format!("several deployments of the board are `{}`", wanted.escape_debug()))
                .caused_by(several.iter().map(|id| id.as_str()).collect::<Vec<_>>().join(", "))
                .hint("name one by its ID"))
        }
    }
}

/// Removes deployments, or what is left of some, and kernels that no other one names. `kernel` is needed, named or not.
pub fn clear(remote: &Remote, what: &str, kernel: &str, ids: &[&str]) -> Result<()> {
    remote.run(what, include_str!("remote/remove.sh"), &[&[kernel], ids].concat()).map(drop)
}

/// Removes a deployment.
pub fn remove(remote: &Remote, facts: &Facts, slots: &dyn Slots, wanted: &str) -> Result<String> {
    let id = find(facts, wanted)?;
    let state = facts.slots(slots).unwrap_or_default();
    let is = |slot: &Option<SlotId>| slot.as_ref().is_some_and(|slot| slot.to_string() == id);
    let refuse =
        |why: &str, hint: &str| Err(Error::new(format!("{id} stays on the board")).caused_by(why).hint(hint));
    if id == "image" {
        return refuse(
            "it is the kernel of the image, where a board ends that has nothing else",
            "`bimg flash` replaces it",
        );
    }
    if facts.running() == Some(&id) {
        return refuse("it is running", "boot another one first: `bimg target rollback`");
    }
    if is(&state.default) {
        return refuse(
            "the boot loader starts it by default",
            "make another one the default first: `bimg target rollback`",
        );
    }
    if is(&state.trial) {
        return refuse("it is armed for a trial boot", "let the trial end first");
    }
    if last_known_good(facts, slots).as_deref() == Some(&id) {
        return refuse(
            "it is the last one known to be good, where a rollback would go",
            "deploy another kernel first",
        );
    }
    clear(remote, "remove the deployment", "", &[&id])?;
    Ok(id)
}

/// What the boot loader is told for a rollback, and what that is called.
pub fn rollback(facts: &Facts, slots: &dyn Slots) -> Result<(SlotState, String)> {
    // A trial that goes on is given up by any boot.
    if facts.on_trial().is_some() {
        let state = SlotState { trial: None, ..facts.slots(slots).unwrap_or_default() };
        let name = state.default.as_ref().map_or("image".to_string(), ToString::to_string);
        return Ok((state, name));
    }
    let default = facts.slots(slots).unwrap_or_default().default;
    if default.is_none() {
        return Err(Error::new("there is nothing to go back to")
            .caused_by("the board's default is the kernel of its image")
            .hint("`bimg target list` shows the kernels there"));
    }
    let id = last_known_good(facts, slots);
    let name = id.clone().unwrap_or_else(|| "image".to_string());
    let default = id.map(|id| SlotId::from_str(&id)).transpose()?;
    Ok((SlotState { default, trial: None }, name))
}
