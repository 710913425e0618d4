//! What is deployed: the files of one kernel, with their hashes and the name that follows from them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::facts::Facts;
use super::{gate, target};
use crate::boot::{self, BootInput, SlotDirs, SlotId, Slots};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::fsx;
use crate::kernel::{KernelArtifacts, packed, staged};
use crate::tree::Content;
use crate::version::Version;
use crate::workdir::Lock;

/// One file of a deployment.
#[derive(Debug, Clone)]
pub struct Entry {
    /// `modules/...`, `boot/...`, `kernel/...` for boot files that deployments share, or a name of the deployment's own.
    pub path: String,
    /// Where its bytes are; `None` when the board has them already.
    pub content: Option<Content>,
    /// Where they may be packed already: [`packed`].
    pub packed: Option<PathBuf>,
    /// Hash.
    pub sha256: Digest,
    /// Bytes; when the board has it, those of the build's own file of that name, and 0 if there is none.
    pub size: u64,
}

/// A file below `modules/`.
pub struct Module {
    /// The file.
    pub entry: Entry,
    /// What it says that it was built for, if it is a module and says so.
    pub vermagic: Option<String>,
}

/// A kernel as it was built, read once for all boards that get it.
pub struct Built {
    /// What the kernel stage left.
    pub kernel: KernelArtifacts,
    /// Everything below `modules/`, sorted.
    pub modules: Vec<Module>,
    /// Hashes of the kernel's single files, as the kernel stage found them.
    files: BTreeMap<PathBuf, Digest>,
}

impl Built {
    /// Hashes the modules that have changed since the build.
    pub fn new(kernel: &KernelArtifacts) -> Result<Built> {
        let own = format!("lib/modules/{}/", kernel.release);
        let staged = staged::staged(&kernel.stage)?.into_iter();
        let modules = staged.filter_map(|file| {
            let path = format!("modules/{}", file.path.strip_prefix(&own)?);
            let content =
                Content::Range { file: Arc::new(kernel.stage.join(&file.path)), offset: 0, len: file.size };
            let packed = Some(packed::path(&kernel.stage, &file.sha256));
            let entry = Entry { path, content: Some(content), packed, sha256: file.sha256, size: file.size };
            Some(Module { entry, vermagic: file.vermagic })
        });
        let files = kernel.files().filter_map(|(name, path)| Some((path.to_owned(), kernel.digest(name)?)));
        Ok(Built { files: files.collect(), modules: modules.collect(), kernel: kernel.clone() })
    }

    /// An entry; the kernel's own files are not hashed again.
    fn entry(&self, path: &str, content: Content) -> Result<Entry> {
        let known = match &content {
            Content::Range { file, .. } => self.files.get(file.as_path()).copied(),
            Content::Bytes(_) | Content::Sparse { .. } => None,
        };
        let sha256 = match known {
            Some(sha256) => sha256,
            None => Digest::of_reader(&mut content.open()?, |cause| {
                Error::new(format!("cannot read `{path}`")).caused_by(fsx::describe(&cause))
            })?,
        };
        Ok(Entry {
            path: path.to_string(),
            size: content.len(),
            content: Some(content),
            packed: None,
            sha256,
        })
    }
}

/// A build that is read and checked while the connections are made.
pub struct Reading<'a> {
    kernel: &'a KernelArtifacts,
    built: OnceLock<Result<Built>>,
    /// What keeps others from building it anew, and how many need its files still.
    held: Mutex<(Option<Lock>, usize)>,
}

/// Somebody's need of a build's files.
pub struct Need<'a>(&'a Mutex<(Option<Lock>, usize)>);

impl Drop for Need<'_> {
    fn drop(&mut self) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.1 = held.1.saturating_sub(1);
        if held.1 == 0 {
            held.0 = None;
        }
    }
}

impl<'a> Reading<'a> {
    /// Nothing read yet. `lock` is given back when the last of `needs` has dropped its [`Reading::need`].
    pub fn new(kernel: &'a KernelArtifacts, lock: Option<Lock>, needs: usize) -> Self {
        Reading { kernel, built: OnceLock::new(), held: Mutex::new((lock, needs)) }
    }

    /// Until a board has all files, or they are read.
    pub fn need(&self) -> Need<'_> {
        Need(&self.held)
    }

    /// `uname -r` of the kernel.
    pub fn release(&self) -> &str {
        &self.kernel.release
    }

    /// The build, once it is read; the first to ask reads it.
    pub fn get(&self) -> Result<&Built> {
        let read = || {
            let built = Built::new(self.kernel)?;
            gate::check_build(&built)?;
            Ok(built)
        };
        // Why is told once, by `failure`.
        self.built.get_or_init(read).as_ref().map_err(|_| Error::new("the build cannot be deployed"))
    }

    /// What is wrong with it.
    pub fn failure(self) -> Option<Error> {
        self.built.into_inner()?.err()
    }
}

/// Which parts come from the build; the others are the running deployment's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parts {
    /// The kernel image.
    pub kernel: bool,
    /// DTBs and overlays.
    pub dtbs: bool,
    /// Modules.
    pub modules: bool,
}

impl Parts {
    /// Everything from the build.
    pub const ALL: Parts = Parts { kernel: true, dtbs: true, modules: true };

    fn takes(self, path: &str) -> bool {
        let Some((dir, name)) = path.split_once('/') else { return true };
        let ends = |ends: &[&str]| ends.iter().any(|end| name.ends_with(end));
        match dir {
            "modules" => self.modules,
            // What holds a command line is made anew for each deployment.
            "boot" if ends(&[".scr", ".txt"]) => true,
            "boot" | "kernel" if ends(&[".dtb", ".dtbo"]) => self.dtbs,
            "boot" | "kernel" => self.kernel,
            _ => true,
        }
    }
}

/// A deployment, whole.
#[derive(Debug, Clone)]
pub struct Payload {
    /// Its name.
    pub id: SlotId,
    /// The name of what it may share with other deployments.
    pub kernel: SlotId,
    /// `uname -r` of its kernel.
    pub release: String,
    /// All files, sorted.
    pub entries: Vec<Entry>,
    /// Dates them: seconds since 1970.
    pub epoch: i64,
}

/// What a deployment is made from, besides the build.
pub struct Recipe<'a> {
    /// Which parts come from the build.
    pub parts: Parts,
    /// Input of the boot chain; its command line is the profile's.
    pub input: BootInput<'a>,
    /// Seconds of a trial boot.
    pub trial: u64,
}

impl Payload {
    /// The deployment of a build for a board that says `facts`.
    pub fn new(built: &Built, recipe: &Recipe<'_>, slots: &dyn Slots, facts: &Facts) -> Result<Payload> {
        // Its names follow from its content, and its content holds its names: they are those of the content
        // with other names in it.
        let draft = Self::draft(built, recipe, slots, facts, &SlotDirs::blank())?;
        let kernel = kernel_name(draft.iter().map(|entry| (entry.path.as_str(), entry.sha256)));
        let mut fields: Vec<Vec<u8>> = vec![recipe.trial.to_string().into_bytes()];
        for entry in &draft {
            fields.push(entry.path.clone().into_bytes());
            fields.push(entry.sha256.0.to_vec());
        }
        let dirs = SlotDirs { id: name(&fields), kernel };
        let entries = Self::draft(built, recipe, slots, facts, &dirs)?;
        let SlotDirs { id, kernel } = dirs;
        Ok(Payload { id, kernel, release: built.kernel.release.clone(), entries, epoch: recipe.input.epoch })
    }

    fn draft(
        built: &Built,
        recipe: &Recipe<'_>,
        slots: &dyn Slots,
        facts: &Facts,
        dirs: &SlotDirs,
    ) -> Result<Vec<Entry>> {
        let id = &dirs.id;
        let release = &built.kernel.release;
        let real_init = real_init(&recipe.input.cmdline, facts);
        let cmdline = cmdline(&recipe.input.cmdline, facts, id, real_init);
        let trial = trial_cmdline(&cmdline, release, recipe.trial);
        let mut entries = BTreeMap::new();
        let mut put = |entry: Entry| drop(entries.insert(entry.path.clone(), entry));
        let input = BootInput { cmdline, ..recipe.input.clone() };
        for file in slots.files(&input, dirs, &trial)? {
            let path = boot_path(file.path.as_str(), dirs)?;
            put(built.entry(&path, file.content)?);
        }
        built.modules.iter().map(|module| module.entry.clone()).for_each(&mut put);
        put(built.entry("init", target::init_script(release, id, real_init).as_str().into())?);
        put(built.entry("config", Content::whole(&built.kernel.config)?)?);
        if recipe.parts != Parts::ALL {
            take_over(&mut entries, recipe.parts, facts)?;
        }
        Ok(entries.into_values().collect())
    }

    /// Bytes that come from the build.
    pub fn size(&self) -> u64 {
        self.entries.iter().filter(|entry| entry.content.is_some()).map(|entry| entry.size).sum()
    }

    /// The manifest, as `sha256sum -c` reads it.
    pub fn manifest(&self) -> String {
        self.entries.iter().map(Entry::sum).collect()
    }
}

/// What a file that a boot chain lays at `path` is called in a deployment.
pub(super) fn boot_path(path: &str, dirs: &SlotDirs) -> Result<String> {
    if let Some(name) = path.strip_prefix(&dirs.kernel_dir()) {
        Ok(format!("kernel/{name}"))
    } else if let Some(name) = path.strip_prefix(&dirs.dir()) {
        Ok(format!("boot/{name}"))
    } else {
        Err(Error::new(format!("the boot chain lays `{path}` outside of the deployment")))
    }
}

/// True for what lies on the boot partition.
pub(super) fn in_boot(path: &str) -> bool {
    path.starts_with("boot/") || path.starts_with("kernel/")
}

/// The name of what is below `kernel/` among `files`.
pub(super) fn kernel_name<'a>(files: impl Iterator<Item = (&'a str, Digest)>) -> SlotId {
    let shared = files.filter(|(path, _)| path.starts_with("kernel/"));
    name(&shared.flat_map(|(path, hash)| [path.as_bytes().to_vec(), hash.0.to_vec()]).collect::<Vec<_>>())
}

fn name(fields: &[Vec<u8>]) -> SlotId {
    SlotId::of(&Digest::of_fields(fields.iter().map(Vec::as_slice)))
}

impl Entry {
    /// One line of `sha256sum`.
    pub(super) fn sum(&self) -> String {
        self.sum_at(&self.path)
    }

    /// The same for the file at `path`.
    pub(super) fn sum_at(&self, path: &str) -> String {
        format!("{}  {path}\n", self.sha256)
    }
}

const WHOLE: &str = "deploy the whole kernel once: without `--kernel-only`, `--modules-only`, `--dtb-only`";

/// Puts the running kernel's files in the place of what is not to be changed.
fn take_over(entries: &mut BTreeMap<String, Entry>, parts: Parts, facts: &Facts) -> Result<()> {
    let replaced = entries.iter().filter(|(path, _)| !parts.takes(path));
    let sizes: BTreeMap<String, u64> = replaced.map(|(path, entry)| (path.clone(), entry.size)).collect();
    entries.retain(|path, _| parts.takes(path));
    for path in sizes.keys() {
        // Modules may be others than those of the build, but not none; every boot file has its counterpart.
        let modules = path.starts_with("modules/");
        if modules && !facts.base.files.keys().any(|path| path.starts_with("modules/")) {
            return Err(Error::new("the running kernel's modules were not found on the board").hint(WHOLE));
        }
        if in_boot(path) && !facts.base.files.contains_key(path) {
            let name = path.split_once('/').map_or("", |(_, name)| name);
            return Err(
                Error::new(format!("the running kernel's `{name}` was not found on the board")).hint(WHOLE)
            );
        }
    }
    for (path, sha256) in &facts.base.files {
        let part = in_boot(path) || path.starts_with("modules/");
        if part && !parts.takes(path) {
            let size = sizes.get(path).copied().unwrap_or_default();
            let entry = Entry { path: path.clone(), content: None, packed: None, sha256: *sha256, size };
            entries.insert(path.clone(), entry);
        }
    }
    Ok(())
}

/// For a trial: a panic resets, and so does a root that never appears, where the kernel can wait with an end
/// (`rootwait=`, Documentation/admin-guide/kernel-parameters.txt; older kernels would not wait at all).
fn trial_cmdline(cmdline: &str, release: &str, seconds: u64) -> String {
    let ends = Version::find(release).is_some_and(|version| version >= Version::new(&[6, 7]));
    let root = format!("rootwait={}", (seconds / 2).min(60));
    let (own, rest) = boot::for_kernel(cmdline);
    let mut words: Vec<&str> = own.split_whitespace().collect();
    words.iter_mut().filter(|word| ends && **word == "rootwait").for_each(|word| *word = &root);
    let trial = format!("bimg_trial={seconds} panic=10");
    words.push(&trial);
    words.extend(rest.split_whitespace());
    words.join(" ")
}

const SBIN_INIT: &str = "/sbin/init";

/// What becomes PID 1 in the end: what the profile says, or the kernel that runs was told.
fn real_init<'a>(profile: &'a str, facts: &'a Facts) -> &'a str {
    let own =
        boot::for_kernel(profile).0.split_whitespace().rev().find_map(|word| word.strip_prefix("init="));
    own.or_else(|| facts.word("init").filter(|init| !init.contains("/.bimg/")))
        .or_else(|| facts.word("bimg_init"))
        .unwrap_or(SBIN_INIT)
}

/// The profile's command line, with what tells the running system where its root is.
fn cmdline(profile: &str, facts: &Facts, id: &SlotId, real_init: &str) -> String {
    let key = |word: &str| word.split('=').next().unwrap_or_default().to_string();
    let (own, rest) = boot::for_kernel(profile);
    let mut words: Vec<String> = own.split_whitespace().map(str::to_string).collect();
    if !words.iter().any(|word| word.starts_with("root=")) {
        for word in &facts.cmdline {
            let root = ["root", "rootfstype", "rootflags", "rootwait", "rootdelay", "ro", "rw", "resume"];
            if root.contains(&key(word).as_str()) && !words.iter().any(|known| key(known) == key(word)) {
                // A trial's own way to wait ends with it.
                words.push(if key(word) == "rootwait" { "rootwait".to_string() } else { word.clone() });
            }
        }
    }
    words.retain(|word| key(word) != "init");
    words.push(format!("init=/lib/modules/.bimg/{id}/init"));
    words.push(format!("bimg_deploy={id}"));
    // For the deployment after this one.
    if real_init != SBIN_INIT {
        words.push(format!("bimg_init={real_init}"));
    }
    words.extend(rest.split_whitespace().map(str::to_string));
    words.join(" ")
}
