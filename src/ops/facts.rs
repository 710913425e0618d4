//! The facts that a plan is made from: what is there, what is up to date, what the host lacks.

use std::path::PathBuf;

use super::rootfs::RootfsStage;
use super::sources::{Shelf, Sources};
use super::{BuildOptions, Stage, image};
use crate::arch::Arch;
use crate::board::{Board, FileRef, Fill};
use crate::digest::Digest;
use crate::disk::Format;
use crate::doctor::{self, KernelTree, Need, Room};
use crate::emulate;
use crate::error::Result;
use crate::exec;
use crate::kernel::{self, Fragment, Freshness, KernelArtifacts, KernelSpec};
use crate::plan::{DiskRow, Plan, StagePlan};
use crate::progress::Progress;
use crate::rootfs::BaseKind;
use crate::source::Source;
use crate::units::ByteSize;
use crate::workdir::{Lock, Workdir};

/// Why each stage has to run. An empty list: it does not.
#[derive(Debug, Default)]
pub struct Facts {
    /// Sources.
    pub sources: Vec<String>,
    /// Kernel.
    pub kernel: Vec<String>,
    /// What the kernel stage left, when it is up to date.
    pub kernel_artifacts: Option<KernelArtifacts>,
    /// Keeps those artifacts as they are, for a build.
    pub kernel_lock: Option<Lock>,
    /// Root filesystem base.
    pub rootfs: Vec<String>,
}

impl Facts {
    /// True when a stage that needs tools has to run.
    pub fn anything_to_do(&self, until: Stage) -> bool {
        !self.sources.is_empty()
            || (until >= Stage::Kernel && !self.kernel.is_empty())
            || (until >= Stage::Rootfs && !self.rootfs.is_empty())
    }
}

/// Looks at stamps and store; starts nothing but the compiler's `--version`. A build, which has somebody to
/// tell that it waits, locks what is up to date; a plan waits for nobody.
pub fn gather(
    options: &BuildOptions,
    known: std::result::Result<&Sources, &[String]>,
    build: Option<&dyn Progress>,
) -> Result<Facts> {
    let mut facts =
        Facts { rootfs: RootfsStage::new(&options.board, &options.workdir)?.reasons()?, ..Facts::default() };
    let sources = match known {
        Ok(sources) => sources,
        Err(missing) => {
            facts.sources = missing.to_vec();
            facts.kernel.push("its source is not there yet".to_string());
            return Ok(facts);
        }
    };
    match kernel_spec(options, sources) {
        Ok(spec) => {
            let lock = match build {
                Some(progress) if spec.dir.is_dir() => Some(Lock::share(&spec.lock(), progress)?),
                _ => None,
            };
            match kernel::freshness(&spec)? {
                Freshness::Fresh(artifacts) => {
                    facts.kernel_artifacts = Some(*artifacts);
                    facts.kernel_lock = lock;
                }
                Freshness::Stale { reasons } => facts.kernel = reasons,
            }
        }
        // The doctor says it better, together with everything else that is missing.
        Err(_) => facts.kernel.push(format!("toolchain `{}` is not ready", options.board.toolchain.name)),
    }
    Ok(facts)
}

/// What the kernel stage works on.
pub fn kernel_spec(options: &BuildOptions, sources: &Sources) -> Result<KernelSpec> {
    let board = &options.board;
    let source = &sources.kernel;
    let mut spec = KernelSpec {
        arch: board.arch,
        toolchain: board.toolchain.detect(board.arch)?,
        source: source.dir.clone(),
        source_identity: source.identity.clone(),
        editable: source.editable,
        defconfig: board.kernel.defconfig.clone(),
        fragments: board.kernel.fragments.iter().map(Fragment::of).collect::<Result<_>>()?,
        sets: options.sets.clone(),
        targets: board.kernel.targets.clone(),
        dtbs: board.kernel.dtbs.iter().map(|dtb| dtb.name.clone()).collect(),
        overlays: board.kernel.overlays.iter().map(|overlay| overlay.name.clone()).collect(),
        origins: (board.kernel.dtbs.iter().chain(&board.kernel.overlays))
            .map(|named| (named.name.clone(), named.origin.clone()))
            .collect(),
        external_modules: board.kernel.modules.clone(),
        load_address: board.kernel.load_address,
        dir: PathBuf::new(),
        log: options.workdir.log(Stage::Kernel.name()),
        epoch: epoch(options, sources),
        jobs: options.jobs,
        ccache: options.ccache,
    };
    spec.dir = options.workdir.kernel(&kernel_key(&spec));
    Ok(spec)
}

/// SOURCE_DATE_EPOCH of a build: the user's, or the date of the kernel's source.
pub fn epoch(options: &BuildOptions, sources: &Sources) -> i64 {
    options.epoch.unwrap_or(sources.kernel.epoch)
}

/// Names the build directory by what a kernel *is*, not by the state it is in: an edited fragment or
/// source file is built incrementally in the same place, and boards with equal kernels share it.
fn kernel_key(spec: &KernelSpec) -> String {
    let source = if spec.editable { spec.source.display().to_string() } else { spec.source_identity.clone() };
    let mut fields = vec![spec.toolchain.name.clone(), source, spec.defconfig.clone()];
    fields.extend(spec.fragments.iter().map(|fragment| fragment.name.clone()));
    fields.extend(spec.external_modules.iter().map(|dir| dir.display().to_string()));
    // Overlays need symbols in every DTB: a board without overlays has other DTBs.
    fields.push(if spec.overlays.is_empty() { String::new() } else { "symbols".to_string() });
    format!("{}-{}", spec.arch, Digest::of_fields(fields.iter().map(String::as_bytes)).short())
}

/// `bimg plan`: the facts, told.
pub fn plan(options: &BuildOptions, progress: &dyn Progress) -> Result<Plan> {
    let shelf = Shelf::open()?;
    let known = shelf.peek(&options.board, progress)?;
    let facts = gather(options, known.as_ref().map_err(Vec::as_slice), None)?;
    let image = image::reasons(options, known.as_ref().ok(), &facts)?;
    let commands = match &known {
        Ok(sources) if !facts.kernel.is_empty() => {
            kernel_spec(options, sources).map(|spec| kernel::make::commands(&spec)).unwrap_or_default()
        }
        _ => Vec::new(),
    };
    let stage = |stage: Stage, reasons: Vec<String>, commands: Vec<String>| StagePlan {
        stage: stage.name(),
        reasons,
        commands,
    };
    let board = &options.board;
    Ok(Plan {
        board: board.name.clone(),
        description: board.description.clone(),
        table: format!("{}, {} alignment", board.disk.table, board.disk.align),
        tools: doctor::merged(&Scope::of(options).needs(Stage::Image))
            .into_iter()
            .filter(|need| !need.optional)
            .map(|need| need.tool)
            .collect(),
        stages: vec![
            stage(Stage::Sources, facts.sources, Vec::new()),
            stage(Stage::Kernel, facts.kernel, commands),
            stage(Stage::Rootfs, facts.rootfs, Vec::new()),
            stage(Stage::Image, image, Vec::new()),
        ],
        disk: disk_rows(board)?,
        image: super::build::relative(&options.workdir.image()),
    })
}

fn disk_rows(board: &Board) -> Result<Vec<DiskRow>> {
    let layout = image::provisional_layout(board)?;
    let mut rows: Vec<DiskRow> = board
        .disk
        .partitions
        .iter()
        .zip(&layout.partitions)
        .map(|(partition, placed)| {
            let known = !layout.provisional || partition.size.is_some();
            let fill = match &partition.fill {
                Fill::Filesystem { kind, content, files, .. } => {
                    let alone = if files.is_empty() { "empty" } else { "files" };
                    let content = content.map_or(alone, |content| content.name());
                    format!("{} ({content})", kind.writer().name())
                }
                Fill::Raw(file) => file.to_string(),
                Fill::Empty => "nothing".to_string(),
            };
            DiskRow {
                name: partition.name.clone(),
                offset: Some(placed.start),
                size: known.then_some(placed.size),
                kind: partition.kind.text().to_string(),
                fill,
            }
        })
        .collect();
    rows.extend(board.disk.blobs.iter().zip(&layout.blobs).map(|(blob, start)| DiskRow {
        name: blob.name.clone(),
        offset: Some(*start),
        size: blob.size,
        kind: "raw".to_string(),
        fill: blob.file.as_ref().map_or("nothing".to_string(), FileRef::to_string),
    }));
    rows.sort_by_key(|row| row.offset);
    Ok(rows)
}

/// What decides which tools and how much room a build takes.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'a> {
    /// The board.
    pub board: &'a Board,
    /// Where it is built.
    pub workdir: &'a Workdir,
    /// Whether ccache would be used.
    pub ccache: bool,
    /// Whether the objects of an earlier build are there to go on with.
    pub has_objects: bool,
    /// What is written besides the raw image.
    pub formats: &'a [Format],
}

impl<'a> Scope<'a> {
    fn of(options: &'a BuildOptions) -> Self {
        let BuildOptions { board, workdir, ccache, formats, .. } = options;
        Scope { board, workdir, ccache: *ccache, has_objects: false, formats }
    }

    /// Every tool that a build up to `until` starts.
    fn needs(&self, until: Stage) -> Vec<Need> {
        let board = self.board;
        let mut needs: Vec<Need> =
            super::sources::requests(board).filter_map(|(_, alternatives)| fetcher(alternatives)).collect();
        if until >= Stage::Kernel {
            needs.extend(doctor::kernel_needs());
            needs.extend(board.toolchain.needs(board.arch));
            if board.kernel.defconfig != "allnoconfig" {
                needs.push(Need::new("openssl", "checks and signs with the kernel's certificates"));
            }
            if board.arch == Arch::X86_64 {
                needs.push(Need::new("libelf", "objtool reads what the compiler made"));
            }
            if self.ccache {
                needs.push(Need::new("ccache", "makes rebuilds fast").optional());
            }
        }
        if until >= Stage::Rootfs && board.rootfs.kind == BaseKind::Debian {
            needs.push(Need::new("mmdebstrap", "unpacks the root filesystem's packages"));
            if !rustix::process::geteuid().is_root() {
                needs.push(Need::new("newuidmap", "runs mmdebstrap without root"));
            }
        }
        if until == Stage::Image {
            let tools = self.formats.iter().filter_map(|format| format.output().tool());
            needs.extend(tools.map(|(tool, why)| Need::new(tool, why)));
        }
        needs
    }

    /// What `bimg run` and `bimg test` start.
    fn emulator_needs(&self) -> Vec<Need> {
        let Some(emulator) = &self.board.emulator else { return Vec::new() };
        let mut needs = vec![
            emulate::qemu::need(self.board.arch, emulator.machine),
            Need::new("qemu-img", "makes throwaway disks"),
        ];
        if emulator.machine.raspberry_pi().is_some() {
            needs.push(Need::new("fdtput", "adapts the device tree to QEMU"));
        }
        if emulator.network {
            needs.push(Need::new("ssh", "logs in to the emulated board"));
            needs.push(Need::new("ssh-keygen", "makes throwaway keys"));
        }
        needs
    }
}

/// What fetching the first alternative takes, unless this host can fetch another one.
fn fetcher(alternatives: &[Source]) -> Option<Need> {
    let here = |source: &Source| source.tool().is_none_or(|tool| exec::which(tool).is_some());
    let first = alternatives.first()?;
    let need = Need::new(first.tool()?, "fetches sources");
    Some(if here(first) || !alternatives.iter().any(here) { need } else { need.optional() })
}

/// Room that a kernel's object directory takes: a lean one of 6.12 for arm64 took 0.24 GiB; for anything
/// larger, what kernel guides reckon for a typical build (5 to 10 GB). A build that goes on with what is there
/// writes some of it again.
fn kernel_room(board: &Board, has_objects: bool) -> ByteSize {
    match (has_objects, board.kernel.defconfig.as_str()) {
        (true, _) => ByteSize::mib(512),
        (false, "allnoconfig") => ByteSize::mib(1 << 10),
        (false, _) => ByteSize::mib(6 << 10),
    }
}

/// Checks the host against what is about to run; all that is wrong is told at once.
pub fn check_host(
    options: &BuildOptions,
    sources: Option<&Sources>,
    shelf: &Shelf,
    until: Stage,
) -> Result<()> {
    let mut scope = Scope::of(options);
    // Without a toolchain there is no telling which directory it is; the doctor names the toolchain.
    let spec = sources.and_then(|sources| kernel_spec(options, sources).ok());
    scope.has_objects = spec.is_some_and(|spec| spec.obj().is_dir());
    if until >= Stage::Kernel {
        kernel::make::check_path(options.workdir.build_dir(), "choose another `--build-dir`")?;
        if options.board.kernel.source.iter().any(|source| !matches!(source, Source::Path(_))) {
            kernel::make::check_path(&shelf.store_dir(), "set `XDG_CACHE_HOME` to another directory")?;
        }
    }
    if until == Stage::Image {
        options.workdir.check_out()?;
    }
    doctor::require(&examine(&scope, sources, shelf, until, false)?)
}

/// Fails when the image does not fit: it may be all that is made, so that nobody looked before.
pub fn check_room(options: &BuildOptions) -> Result<()> {
    let disk = [image_room(&options.board, &options.workdir)?];
    doctor::require(&doctor::check(&doctor::Request { disk: &disk, ..doctor::Request::default() })?)
}

/// How much of a partition's room is counted: nobody knows yet how much of it will be filled.
const FILLED: u64 = 1 << 30;

/// Room that an image takes, which has holes where nothing is.
fn image_room(board: &Board, workdir: &Workdir) -> Result<Room> {
    let layout = image::provisional_layout(board)?;
    let filled = board.disk.partitions.iter().filter(|partition| partition.fill != Fill::Empty);
    let placed = filled.filter_map(|partition| layout.partition(&partition.name));
    let bytes = placed.map(|placed| placed.size.0.min(FILLED)).sum();
    Ok(Room { dir: workdir.out_dir(), bytes: ByteSize(bytes) })
}

/// The doctor's report for a board.
pub fn examine(
    scope: &Scope<'_>,
    sources: Option<&Sources>,
    shelf: &Shelf,
    until: Stage,
    emulator: bool,
) -> Result<doctor::Report> {
    let Scope { board, workdir, has_objects, .. } = *scope;
    let mut disk = Vec::new();
    if sources.is_none() && board.kernel.source.iter().any(|source| !matches!(source, Source::Path(_))) {
        // A kernel source package and its tree: 153 MB and 1.7 GB for 6.12.
        disk.push(Room { dir: shelf.store_dir(), bytes: ByteSize::mib(2500) });
    }
    if until >= Stage::Kernel {
        disk.push(Room { dir: workdir.build_dir().to_owned(), bytes: kernel_room(board, has_objects) });
    }
    if until == Stage::Image {
        disk.push(image_room(board, workdir)?);
    }
    let mut needs = scope.needs(until);
    if emulator {
        needs.extend(scope.emulator_needs());
        needs.extend(doctor::optional_kernel_needs());
    }
    doctor::check(&doctor::Request {
        needs: &needs,
        disk: &disk,
        // The largest link of an arm64 defconfig kernel without debug information.
        memory: ByteSize::mib(1 << 10),
        tree: sources.map(|sources| KernelTree { dir: &sources.kernel.dir, arch: board.arch.kbuild() }),
    })
}
