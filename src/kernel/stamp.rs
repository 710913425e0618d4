//! Is a kernel up to date? Answered without make, and with reasons.
//!
//! After a successful build, `stamp.json` keeps every input by its label and what the outputs look
//! like; `source.list` keeps the listing of an editable tree, taken before make started, so that a file
//! saved while it ran counts as changed. Sources from the store cannot change: their identity suffices.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::listing::Listing;
use super::signing;
use super::spec::{KernelArtifacts, KernelSpec};
use crate::digest::Digest;
use crate::error::{Context, Result};
use crate::fsx;

/// Raised when the same spec would give other results: new flags, another way of staging.
const RULES: &str = "2";

/// Reasons given for changed source files before counting the rest.
const SHOWN: usize = 3;

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Freshness {
    /// Nothing to do.
    Fresh(Box<KernelArtifacts>),
    /// To be built, and why; never empty.
    Stale {
        /// `fragment boards/common/lean.config changed`
        reasons: Vec<String>,
    },
}

/// Everything that decided a finished build, and what it left.
#[derive(Debug, Serialize, Deserialize)]
struct Stamp {
    inputs: BTreeMap<String, String>,
    outputs: BTreeMap<String, String>,
    release: String,
    command: String,
    digests: BTreeMap<String, Digest>,
}

/// The inputs as they were when the build began.
#[derive(Debug)]
pub struct Inputs {
    labelled: BTreeMap<String, String>,
    listing: Option<Listing>,
}

impl Inputs {
    /// Looks at everything that the spec names.
    pub fn of(spec: &KernelSpec) -> Result<Self> {
        Ok(Inputs { labelled: labelled(spec)?, listing: listing(spec)? })
    }

    /// Of all that decides `.config`: as long as it stays, so does the configuration.
    pub fn of_config(&self) -> Digest {
        let decides =
            |label: &str| !is_goal(label) && !OUTSIDE_CONFIG.iter().any(|other| label.starts_with(other));
        let labelled = self.labelled.iter().filter(|(label, _)| decides(label));
        let mut fields: Vec<&[u8]> =
            labelled.flat_map(|(label, value)| [label.as_bytes(), value.as_bytes()]).collect();
        let listing = self.listing.as_ref().map(|listing| listing.digest(decides_config));
        fields.extend(listing.as_ref().map(|digest| &digest.0[..]));
        Digest::of_fields(fields)
    }
}

fn listing(spec: &KernelSpec) -> Result<Option<Listing>> {
    if !spec.editable {
        return Ok(None);
    }
    Listing::of(&spec.source).map(Some)
}

fn stamp_path(spec: &KernelSpec) -> PathBuf {
    spec.dir.join("stamp.json")
}

fn listing_path(spec: &KernelSpec) -> PathBuf {
    spec.dir.join("source.list")
}

/// Makes whatever is there stale; called before anything changes.
pub fn invalidate(spec: &KernelSpec) -> Result<()> {
    fsx::remove_file(&stamp_path(spec))
}

/// Declares a build finished.
pub fn write(spec: &KernelSpec, inputs: Inputs, artifacts: &KernelArtifacts) -> Result<()> {
    if let Some(listing) = &inputs.listing {
        fsx::write_atomic(&listing_path(spec), &listing.to_bytes())?;
    }
    let stamp = Stamp {
        inputs: inputs.labelled,
        outputs: outputs(spec, artifacts)?,
        release: artifacts.release.clone(),
        command: artifacts.command.clone(),
        digests: artifacts.digests.clone(),
    };
    let path = stamp_path(spec);
    let mut text = serde_json::to_string_pretty(&stamp)
        .map_err(|cause| crate::error::Error::new("cannot write the stamp").caused_by(cause))?;
    text.push('\n');
    fsx::write_atomic(&path, text.as_bytes())
}

/// Compares the spec with the last finished build of its directory.
pub fn freshness(spec: &KernelSpec) -> Result<Freshness> {
    let never = || Freshness::Stale { reasons: vec!["no finished build".to_string()] };
    let Some(text) = fsx::read_optional(&stamp_path(spec))? else { return Ok(never()) };
    // A stamp of another version of bimg does not parse: the same as none.
    let Ok(stamp) = serde_json::from_str::<Stamp>(&text) else { return Ok(never()) };
    let now = labelled(spec)?;
    let then = stamp.inputs.into_iter().filter(|(label, _)| !is_goal(label) || now.contains_key(label));
    let mut reasons = differences(&then.collect(), &now);
    if let Some(now) = listing(spec)? {
        reasons.extend(source_changes(spec, &now)?);
    }
    let mut artifacts = artifacts(spec, &stamp.release, stamp.command, stamp.digests);
    artifacts.keep_own_digests();
    reasons.extend(output_changes(spec, &stamp.outputs, &artifacts));
    Ok(if reasons.is_empty() { Freshness::Fresh(Box::new(artifacts)) } else { Freshness::Stale { reasons } })
}

/// The spec, and the images and device trees of the last finished build when nothing else differs: so
/// boards that share a kernel do not undo each other's work.
pub fn widened(spec: &KernelSpec) -> Result<KernelSpec> {
    let mut wide = spec.clone();
    let Some(text) = fsx::read_optional(&stamp_path(spec))? else { return Ok(wide) };
    let Ok(stamp) = serde_json::from_str::<Stamp>(&text) else { return Ok(wide) };
    let own = |(label, _): &(&String, &String)| !is_goal(label);
    if !labelled(spec)?.iter().filter(own).eq(stamp.inputs.iter().filter(own)) {
        return Ok(wide);
    }
    for (goal, names) in
        [(GOALS[0], &mut wide.targets), (GOALS[1], &mut wide.dtbs), (GOALS[2], &mut wide.overlays)]
    {
        let known = stamp.inputs.keys().filter_map(|label| label.strip_prefix(goal)?.strip_prefix(' '));
        names.extend(
            known.filter(|name| !names.iter().any(|own| own == name)).map(str::to_string).collect::<Vec<_>>(),
        );
    }
    Ok(wide)
}

/// Labels of what make is asked for, each followed by a name.
const GOALS: [&str; 3] = ["image", "device tree", "overlay"];

/// Labels, or what they begin with, that `.config` does not depend on, besides the goals.
const OUTSIDE_CONFIG: [&str; 4] = ["external module ", "file of CONFIG_", "git revision", "source date"];

/// True for files of a source tree that Kconfig reads, runs, or is called by.
fn decides_config(dir: &[u8], name: &[u8]) -> bool {
    let top = dir.split(|&byte| byte == b'/').next().unwrap_or_default();
    let depth = dir.split(|&byte| byte == b'/').count();
    let makefile = name.starts_with(b"Makefile") && (dir.is_empty() || (top == b"arch" && depth == 2));
    makefile || top == b"scripts" || name.starts_with(b"Kconfig") || dir.ends_with(b"/configs")
}

fn is_goal(label: &str) -> bool {
    GOALS.iter().any(|goal| label.strip_prefix(goal).is_some_and(|rest| rest.starts_with(' ')))
}

fn source_changes(spec: &KernelSpec, now: &Listing) -> Result<Vec<String>> {
    let path = listing_path(spec);
    if !path.exists() {
        return Ok(vec!["source has no kept listing".to_string()]);
    }
    let Some(before) = Listing::from_bytes(&fsx::read(&path)?) else {
        return Ok(vec!["source has no readable listing".to_string()]);
    };
    let changes = now.changes_since(&before);
    let mut reasons: Vec<String> =
        changes.iter().take(SHOWN).map(|change| format!("source {change}")).collect();
    if changes.len() > SHOWN {
        reasons.push(format!("and {} more source files", changes.len() - SHOWN));
    }
    Ok(reasons)
}

/// The paths follow from the spec; only the rest has to be remembered.
pub fn artifacts(
    spec: &KernelSpec,
    release: &str,
    command: String,
    digests: BTreeMap<String, Digest>,
) -> KernelArtifacts {
    let dtbs = |names: &[String]| names.iter().map(|name| (name.clone(), spec.dtb(name))).collect();
    KernelArtifacts {
        release: release.to_string(),
        images: spec.targets.iter().map(|name| (name.clone(), spec.image(name))).collect(),
        dtbs: dtbs(&spec.dtbs),
        overlays: dtbs(&spec.overlays),
        stage: spec.stage(),
        modules_dir: spec.stage().join("lib/modules").join(release),
        config: spec.config(),
        system_map: spec.obj().join("System.map"),
        toolchain: spec.toolchain.identity.clone(),
        command,
        digests,
    }
}

/// What the outputs look like: size and modification time, and the listing of the staging tree.
fn outputs(spec: &KernelSpec, artifacts: &KernelArtifacts) -> Result<BTreeMap<String, String>> {
    let mut outputs = BTreeMap::new();
    for (name, path) in artifacts.files() {
        let meta = path.metadata().map_err(|cause| fsx::io_error("read", path, &cause))?;
        outputs.insert(name.to_string(), look(&meta));
    }
    outputs.insert("modules".to_string(), listing_digest(&spec.stage())?);
    Ok(outputs)
}

fn output_changes(
    spec: &KernelSpec,
    then: &BTreeMap<String, String>,
    artifacts: &KernelArtifacts,
) -> Vec<String> {
    let mut reasons = Vec::new();
    for (name, path) in artifacts.files() {
        match path.metadata() {
            Err(_) => reasons.push(format!("output {name} is gone")),
            Ok(meta) if then.get(name) != Some(&look(&meta)) => {
                reasons.push(format!("output {name} was changed from outside"));
            }
            Ok(_) => {}
        }
    }
    match listing_digest(&spec.stage()) {
        Err(_) => reasons.push("the staged modules are gone".to_string()),
        Ok(now) if then.get("modules") != Some(&now) => {
            reasons.push("the staged modules were changed from outside".to_string());
        }
        Ok(_) => {}
    }
    reasons
}

fn look(meta: &std::fs::Metadata) -> String {
    format!("{} {}.{:09}", meta.len(), meta.mtime(), meta.mtime_nsec())
}

fn listing_digest(dir: &Path) -> Result<String> {
    Ok(digest(&Listing::of(dir)?.to_bytes()))
}

/// Marks a value as a digest: reasons then say `changed` and no more.
fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", Digest::of(bytes))
}

/// Every input with the label that reasons use.
fn labelled(spec: &KernelSpec) -> Result<BTreeMap<String, String>> {
    let mut inputs = BTreeMap::new();
    let mut put = |label: String, value: String| inputs.insert(label, value);
    put("build rules of bimg".into(), RULES.into());
    put("architecture".into(), spec.arch.to_string());
    put("toolchain".into(), spec.toolchain.identity.clone());
    put("compiler".into(), spec.toolchain.compiler.clone());
    put("source".into(), spec.source_identity.clone());
    put("source date".into(), spec.epoch.to_string());
    put("defconfig".into(), spec.defconfig.clone());
    if spec.defconfig.contains('/') {
        put(format!("defconfig {}", spec.defconfig), digest(&fsx::read(Path::new(&spec.defconfig))?));
    } else if let Some(linked) = linked_defconfig(spec)? {
        put(format!("defconfig {}", spec.defconfig), linked);
    }
    for fragment in &spec.fragments {
        put(format!("fragment {}", fragment.name), digest(fragment.text.as_bytes()));
    }
    let order: Vec<&str> = spec.fragments.iter().map(|fragment| fragment.name.as_str()).collect();
    put("order of the fragments".into(), digest(order.join("\n").as_bytes()));
    for set in &spec.sets {
        let (symbol, value) = set.split_once('=').unwrap_or((set, ""));
        // The last one wins here as it does in the configuration.
        put(format!("--set {symbol}"), value.to_string());
    }
    for (what, names) in GOALS.into_iter().zip([&spec.targets, &spec.dtbs, &spec.overlays]) {
        for name in names {
            put(format!("{what} {name}"), String::new());
        }
    }
    // They decide how every device tree is compiled, also those of boards that share the kernel.
    put("symbols in device trees".into(), if spec.overlays.is_empty() { "no" } else { "yes" }.into());
    if let Some(address) = spec.load_address {
        put("load address".into(), format!("{address:#x}"));
    }
    for dir in &spec.external_modules {
        put(
            format!("external module {}", dir.display()),
            listing_digest(dir).context(|| format!("external module `{}` cannot be read", dir.display()))?,
        );
    }
    for (symbol, path) in signing::files(spec) {
        let key =
            fsx::read(&path).context(|| format!("the file that CONFIG_{symbol} names cannot be read"))?;
        put(format!("file of CONFIG_{symbol}"), digest(&key));
    }
    if spec.editable
        && let Some(revision) = git_revision(&spec.source)
    {
        // CONFIG_LOCALVERSION_AUTO puts it into the release.
        put("git revision".into(), revision);
    }
    Ok(inputs)
}

/// A defconfig that the tree has as a symbolic link: what it leads to is outside of the tree's listing.
fn linked_defconfig(spec: &KernelSpec) -> Result<Option<String>> {
    let path = spec.configs().join(&spec.defconfig);
    if !path.is_symlink() {
        return Ok(None);
    }
    Ok(fsx::read_optional(&path)?.map(|text| digest(text.as_bytes())))
}

/// The commit that a git checkout is at, read from its files: git itself would take longer than all
/// the rest. `None` for anything but a plain repository or one of its work trees (gitrepository-layout(5)).
fn git_revision(source: &Path) -> Option<String> {
    let read = |path: PathBuf| fsx::read_optional(&path).ok()?.map(|text| text.trim().to_string());
    let mut git = source.join(".git");
    if git.is_file() {
        git = source.join(read(git)?.strip_prefix("gitdir: ")?);
    }
    let shared = read(git.join("commondir")).map_or_else(|| git.clone(), |dir| git.join(dir));
    let head = read(git.join("HEAD"))?;
    let Some(name) = head.strip_prefix("ref: ") else { return Some(head) };
    read(shared.join(name)).or_else(|| {
        let packed = read(shared.join("packed-refs"))?;
        packed.lines().find_map(|line| line.strip_suffix(name)).map(|commit| commit.trim().to_string())
    })
}

/// `LABEL changed`, `LABEL is new`, `LABEL is gone`, in the order of labels.
fn differences(then: &BTreeMap<String, String>, now: &BTreeMap<String, String>) -> Vec<String> {
    let labels: std::collections::BTreeSet<&String> = then.keys().chain(now.keys()).collect();
    let differ = |label: &String| match (then.get(label), now.get(label)) {
        (Some(then), Some(now)) if then == now => None,
        (Some(then), Some(now)) if shows(then) && shows(now) => {
            Some(format!("{label} changed from `{then}` to `{now}`"))
        }
        (Some(_), Some(_)) => Some(format!("{label} changed")),
        (None, _) => Some(format!("{label} is new")),
        (_, None) => Some(format!("{label} is gone")),
    };
    labels.into_iter().filter_map(differ).collect()
}

/// True for values that a person can read in a line.
fn shows(value: &str) -> bool {
    !value.starts_with("sha256:") && value.len() <= 40 && !value.contains('\n')
}
