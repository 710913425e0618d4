//! The image stage: one tree for the root, one for the boot partition, written in place.
//!
//! 1. The labelled inputs of the image give one digest: the seed of every identifier on the disk.
//! 2. The kernel command line names the root by the PARTUUID that follows from it.
//! 3. The trees are laid out and written into `BOARD.img`; `.bmap`, `manifest.json` and `SHA256SUMS`
//!    follow, the stamp last.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::manifest::{self, Artifact, Manifest, ManifestKernel};
use super::rootfs::{Prepared, RootfsStage};
use super::sources::Sources;
use super::{BuildOptions, facts, firmware};
use crate::board::{Board, Content as Holds, FileRef, Fill};
use crate::boot::{self, BootInput, Firmware};
use crate::data::DataDirs;
use crate::digest::Digest;
use crate::disk::{self, DiskSpec, Finished, ImageFacts, Layout};
use crate::emulate::EmulatorFirmware;
use crate::error::{Error, Result};
use crate::fsx;
use crate::kernel::KernelArtifacts;
use crate::plan::stamp::{Inputs, Stamp};
use crate::progress::Progress;
use crate::rootfs::{self, KernelFiles, Layers, Package, Provision};
use crate::source;
use crate::tree::{Content, Timestamp, Tree, TreePath};

/// What an image stage left.
#[derive(Debug)]
pub struct Written {
    /// Bytes of the image.
    pub size: u64,
    /// Bytes of it that hold data.
    pub mapped: u64,
    /// Everything in the out directory but the image itself.
    pub files: Vec<PathBuf>,
}

/// The image stage of one build.
pub struct Job<'a> {
    options: &'a BuildOptions,
    sources: &'a Sources,
    kernel: &'a KernelArtifacts,
    prepared: &'a Prepared,
    dirs: DataDirs,
    provision: Provision,
    hostname: String,
    epoch: Timestamp,
    inputs: Inputs,
}

/// Partitions and blobs with sizes only: for `bimg plan`, and to know how much room an image takes. Finds overlaps and
/// impossible sizes as far as they are known without any content, and a root that cannot be named.
pub fn provisional_layout(board: &Board) -> Result<Layout> {
    let spec = super::disk::spec(&board.disk, &provisional(), &mut |_| Ok(None))?;
    let layout = disk::layout(&spec)?;
    cmdline(board, &spec)?;
    Ok(layout)
}

fn provisional() -> super::disk::Inputs<'static> {
    static NONE: BTreeMap<String, Firmware> = BTreeMap::new();
    super::disk::Inputs { seed: Digest::of(b""), firmware: &NONE, epoch: Timestamp::default() }
}

/// The kernel command line: the profile's, and where the root filesystem is unless that says it.
fn cmdline(Board { kernel, disk, .. }: &Board, spec: &DiskSpec) -> Result<String> {
    let given = kernel.cmdline.trim();
    let (own, rest) = boot::for_kernel(given);
    let says_root = own.split_whitespace().any(|word| word.starts_with("root="));
    // Every board has a root partition: the reading of its profile sees to that.
    let Some(root) = disk.holding(Holds::Root).filter(|_| !says_root) else {
        return Ok(given.to_string());
    };
    let partuuid = spec.partuuid(&root.name)?;
    let kind = match &root.fill {
        Fill::Filesystem { kind, .. } => kind.writer().name(),
        Fill::Raw(_) | Fill::Empty => "auto",
    };
    let where_it_is = format!("root=PARTUUID={partuuid} rootfstype={kind} rootwait");
    Ok(format!("{own} {where_it_is} {rest}").trim().to_string())
}

/// Why the image stage has to run, as far as that is known before the stages it builds on have run.
pub fn reasons(
    options: &BuildOptions,
    sources: Option<&Sources>,
    facts: &facts::Facts,
) -> Result<Vec<String>> {
    let (Some(sources), Some(kernel), true) = (sources, &facts.kernel_artifacts, facts.rootfs.is_empty())
    else {
        return Ok(vec!["the stages before it run first".to_string()]);
    };
    let prepared = RootfsStage::new(&options.board, &options.workdir)?.left()?;
    Job::new(options, sources, kernel, &prepared)?.reasons()
}

impl<'a> Job<'a> {
    /// Gathers the inputs; reads overlays and firmware lists, no large file.
    pub fn new(
        options: &'a BuildOptions,
        sources: &'a Sources,
        kernel: &'a KernelArtifacts,
        prepared: &'a Prepared,
    ) -> Result<Self> {
        let board = &options.board;
        let mut job = Job {
            options,
            sources,
            kernel,
            prepared,
            dirs: DataDirs::user(),
            provision: options.provision.clone().over(board.rootfs.provision(&board.base)?),
            hostname: rootfs::hostname_of(&board.name),
            epoch: Timestamp { secs: facts::epoch(options, sources), nanos: 0 },
            inputs: Inputs::default(),
        };
        job.inputs = job.gather()?;
        Ok(job)
    }

    fn layers(&self) -> Layers<'_> {
        Layers {
            spec: &self.options.board.rootfs,
            profile: &self.options.board.base,
            dirs: &self.dirs,
            base: &self.prepared.base,
            kernel: Some(KernelFiles {
                release: &self.kernel.release,
                modules: Some(&self.kernel.modules_dir),
                config: &self.kernel.config,
                system_map: &self.kernel.system_map,
            }),
            provision: &self.provision,
            default_hostname: &self.hostname,
            grow: self.prepared.grow.as_deref(),
            epoch: self.epoch,
        }
    }

    fn gather(&self) -> Result<Inputs> {
        let board = &self.options.board;
        let mut inputs = Inputs::default();
        inputs.add("bimg", env!("CARGO_PKG_VERSION"));
        inputs.add("board", &board.name);
        for file in &board.files {
            inputs.add_bytes(format!("profile {}", file.name), &file.bytes);
        }
        inputs.add("date", self.epoch.secs.to_string());
        inputs.add("kernel release", &self.kernel.release);
        for (name, digest) in &self.kernel.digests {
            inputs.add(format!("kernel {name}"), digest.to_string());
        }
        let memo = self.options.workdir.memo();
        for (name, fetched) in &self.sources.firmware {
            for (label, value) in firmware::fingerprint(board, name, fetched, &memo)? {
                inputs.add(label, value);
            }
        }
        for (origin, path) in self.host_files() {
            let digest =
                rootfs::host_fingerprint(path, Some(&memo)).map_err(|error| error.declared_at(origin))?;
            // As the profile names it: where the profile lies does not count.
            let name = path.strip_prefix(&board.base).unwrap_or(path);
            inputs.add(format!("file {}", name.display()), digest.to_string());
        }
        let base = RootfsStage::new(&self.options.board, &self.options.workdir)?;
        let base = base.inputs().iter().map(|(label, value)| (label.to_string(), value.to_string()));
        let overlays = rootfs::overlay_fingerprint(&board.rootfs, &board.base, &self.dirs, &memo)?;
        let layers = overlays.into_iter().chain(self.provision.fingerprint());
        for (label, value) in base.chain(layers.map(|(label, digest)| (label, digest.to_string()))) {
            inputs.add(format!("rootfs {label}"), value);
        }
        if let Some(digest) = self.prepared.packages(board, &self.options.workdir)? {
            inputs.add("rootfs packages", digest.to_string());
        }
        Ok(inputs)
    }

    /// Files and directories of the user's that the disk holds as they are.
    fn host_files(&self) -> impl Iterator<Item = (&str, &Path)> {
        self.options.board.disk.files().filter_map(|(origin, file)| match file {
            FileRef::Host(path) => Some((origin, path.as_path())),
            FileRef::Firmware { .. } => None,
        })
    }

    fn stamp(&self) -> Stamp {
        Stamp::at(self.options.workdir.image_stamp())
    }

    /// With what only changes the files beside the image.
    fn stamped(&self) -> Inputs {
        let mut inputs = self.inputs.clone();
        for format in &self.options.formats {
            inputs.add(format!("format {}", format.name()), "");
        }
        inputs
    }

    /// Why the stage has to run; nothing when it is up to date.
    pub fn reasons(&self) -> Result<Vec<String>> {
        self.stamp().reasons(&self.stamped())
    }

    /// What an earlier run left.
    pub fn written(&self) -> Result<Written> {
        let out = self.options.workdir.out_dir();
        let manifest = Manifest::load(&out.join("manifest.json"), &self.options.board.asked)?;
        let number =
            |key: &str| manifest.disk.get(key).and_then(serde_json::Value::as_u64).unwrap_or_default();
        let mut files: Vec<PathBuf> = manifest.artifacts.keys().map(|name| out.join(name)).collect();
        files.extend([out.join("manifest.json"), out.join("SHA256SUMS")]);
        files.retain(|file| *file != self.options.workdir.image());
        Ok(Written { size: number("size"), mapped: number("mapped"), files })
    }

    /// Assembles and writes everything.
    pub fn write(&self, progress: &dyn Progress) -> Result<Written> {
        self.options.workdir.check_out()?;
        let out = self.options.workdir.out_dir();
        let image = self.options.workdir.image();
        let bmap = self.options.workdir.bmap();
        let seed = self.inputs.digest();
        let firmware = firmware::all(self.sources);
        // Identifiers follow from the seed alone, so the command line can name the root before it is written.
        let Board { name: board_name, disk: board, .. } = &self.options.board;
        let given = super::disk::Inputs { seed, firmware: &firmware, epoch: self.epoch };
        let bare = super::disk::spec(board, &given, &mut |_| Ok(None))?;
        let cmdline = cmdline(&self.options.board, &bare)?;
        let rootfs::Rootfs { tree: mut root, packages } = rootfs::assemble(&self.layers())?;
        // Without a partition of its own, what the boot loader reads is in /boot of the root filesystem.
        let boot = if board.holding(Holds::Boot).is_some() {
            let mut tree = Tree::new(self.epoch);
            self.lay_boot_files(&mut tree, "", &cmdline, &firmware)?;
            Some(tree)
        } else {
            self.lay_boot_files(&mut root, "boot", &cmdline, &firmware)?;
            None
        };
        let spec = super::disk::spec(board, &given, &mut |holds| {
            Ok(match holds {
                Holds::Root => Some(root.clone()),
                Holds::Boot => boot.clone(),
            })
        })?;
        let layout = disk::layout(&spec)?;
        let replacing = || {
            self.stamp().clear()?;
            remove_side_files(&image, &bmap, board_name)
        };
        let facts = disk::write(&spec, &layout, &image, replacing, progress)?;
        fsx::write_atomic(&bmap, facts.bmap().as_bytes())?;
        let mut artifacts = BTreeMap::from([
            (name(&image), Artifact { size: facts.size.0, sha256: facts.sha256 }),
            (name(&bmap), artifact(&bmap)?),
        ]);
        let finished = Finished { path: &image, facts: &facts };
        for format in &self.options.formats {
            for path in format.output().write(&finished, progress)? {
                artifacts.insert(name(&path), artifact(&path)?);
            }
        }
        self.emulator_firmware(&out, &firmware, &mut artifacts)?;
        self.finish(&out, &facts, packages, artifacts)
    }

    fn finish(
        &self,
        out: &Path,
        facts: &ImageFacts,
        packages: Vec<Package>,
        artifacts: BTreeMap<String, Artifact>,
    ) -> Result<Written> {
        let (size, mapped) = (facts.size.0, facts.mapped.0);
        let spec = facts::kernel_spec(self.options, self.sources)?;
        let manifest = Manifest {
            bimg: env!("CARGO_PKG_VERSION").to_string(),
            board: self.options.board.name.clone(),
            arch: self.options.board.arch.to_string(),
            command: manifest::command(self.options),
            epoch: self.epoch.secs,
            sources: manifest::locked(self.sources),
            inputs: self.inputs.iter().map(|(label, value)| (label.to_string(), value.to_string())).collect(),
            kernel: ManifestKernel::new(self.kernel, &spec)?,
            packages,
            disk: serde_json::to_value(facts)
                .map_err(|cause| Error::new("cannot write the manifest").caused_by(cause))?,
            artifacts,
        };
        let path = out.join("manifest.json");
        let bytes = manifest.to_bytes()?;
        fsx::write_atomic(&path, &bytes)?;
        let mut sums: Vec<(&str, Digest)> =
            manifest.artifacts.iter().map(|(name, artifact)| (name.as_str(), artifact.sha256)).collect();
        sums.push(("manifest.json", Digest::of(&bytes)));
        disk::write_sums(out, &sums)?;
        let outputs: Vec<PathBuf> = manifest
            .artifacts
            .keys()
            .map(|name| out.join(name))
            .chain([path, out.join("SHA256SUMS")])
            .collect();
        self.stamp().write(&self.stamped(), &outputs)?;
        let files = outputs.into_iter().filter(|file| *file != self.options.workdir.image()).collect();
        Ok(Written { size, mapped, files })
    }

    /// What the boot loader reads, into the directory `at` of a tree.
    fn lay_boot_files(
        &self,
        tree: &mut Tree,
        at: &'static str,
        cmdline: &str,
        firmware: &BTreeMap<String, Firmware>,
    ) -> Result<()> {
        let board = &self.options.board;
        let input = BootInput {
            dir: at,
            cmdline: cmdline.to_string(),
            ..boot_input(board, self.kernel, self.epoch.secs, firmware)?
        };
        let at = TreePath::new(at)?;
        for file in boot::chain(&board.boot)?.files(&input)? {
            tree.put_file(at.join(file.path.as_str())?.as_str(), 0o644, file.content)?;
        }
        Ok(())
    }

    /// What QEMU starts the image with, beside the image: whoever has the directory can boot it.
    fn emulator_firmware(
        &self,
        out: &Path,
        firmware: &BTreeMap<String, Firmware>,
        artifacts: &mut BTreeMap<String, Artifact>,
    ) -> Result<()> {
        let Some(emulator) = &self.options.board.emulator else { return Ok(()) };
        let EmulatorFirmware { bios, kernel } = &emulator.firmware;
        for reference in [bios, kernel].into_iter().flatten() {
            let Some((source, path)) = reference.split_once(':') else { continue };
            // `firmware::check` has seen that it is there.
            let Some(found) = firmware.get(source) else { continue };
            let target = out.join(file_name(path));
            fsx::write_atomic(&target, &fsx::read(&source::resolve(&found.dir, path)?)?)?;
            artifacts.insert(name(&target), artifact(&target)?);
        }
        Ok(())
    }
}

/// What the boot chain gets of a kernel; its command line is the profile's.
pub fn boot_input<'a>(
    board: &Board,
    kernel: &KernelArtifacts,
    epoch: i64,
    firmware: &'a BTreeMap<String, Firmware>,
) -> Result<BootInput<'a>> {
    let target = &board.kernel.targets[0];
    let Some(image) = kernel.images.get(target) else {
        return Err(Error::new(format!("the kernel build left no `{target}`")));
    };
    let all = |files: &[(String, PathBuf)]| {
        files.iter().map(|(name, path)| Ok((name.clone(), Content::whole(path)?))).collect::<Result<_>>()
    };
    Ok(BootInput {
        arch: board.arch,
        kernel: (target.clone(), Content::whole(image)?),
        dtbs: all(&kernel.dtbs)?,
        overlays: all(&kernel.overlays)?,
        dir: "",
        cmdline: board.kernel.cmdline.trim().to_string(),
        initramfs: None,
        release: kernel.release.clone(),
        epoch,
        firmware,
    })
}

/// Removes what an earlier build left beside the image, just before that changes: nothing ever describes another
/// image, and nothing lists what is gone. So the lists go first; the manifest stays under the name of an unfinished
/// one until all that it lists is gone, for the run after one that is killed here.
fn remove_side_files(image: &Path, bmap: &Path, board: &str) -> Result<()> {
    let dir = image.parent().unwrap_or(Path::new("."));
    let manifest = dir.join("manifest.json");
    let unfinished = fsx::partial_name(&manifest);
    let load = |path: &Path| Manifest::load(path, board);
    // Without a manifest, or with one of another version, there is nothing of ours to find.
    let listed = load(&manifest).or_else(|_| load(&unfinished)).map(|old| old.artifacts).unwrap_or_default();
    fsx::remove_file(&dir.join("SHA256SUMS"))?;
    if manifest.exists() {
        fsx::rename(&manifest, &unfinished)?;
    }
    for name in listed.keys().filter(|name| !name.contains('/')) {
        let path = dir.join(name);
        if path != image {
            fsx::remove_file(&path)?;
        }
    }
    fsx::remove_file(bmap)?;
    remove_leftovers(dir, image, board)?;
    fsx::remove_file(&unfinished)
}

/// Removes what a killed build left half-written: `BOARD.*.partial`, but for the image's own, which is whole by now.
/// Without this, one of a format that nobody asks for any more would stay for good.
fn remove_leftovers(dir: &Path, image: &Path, board: &str) -> Result<()> {
    let own = fsx::partial_name(image);
    let failed = |cause: std::io::Error| fsx::io_error("read", dir, &cause);
    for entry in dir.read_dir().map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let is_ours = path.file_name().and_then(|name| name.to_str()).is_some_and(|name| {
            name.strip_prefix(board).is_some_and(|rest| rest.starts_with('.') && rest.ends_with(".partial"))
        });
        if is_ours && path != own {
            fsx::remove_file(&path)?;
        }
    }
    Ok(())
}

fn artifact(path: &Path) -> Result<Artifact> {
    let size = path.metadata().map_err(|cause| fsx::io_error("read", path, &cause))?.len();
    Ok(Artifact { size, sha256: Digest::of_file(path)? })
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}
