//! Reads `config.txt` as the Raspberry Pi's firmware does, to know what it would boot.
//!
//! 1. lines of `config.txt` and of what it includes, cut at 98 characters, comments dropped;
//! 2. those below a conditional filter that does not match the model are left out;
//! 3. the settings that choose files are resolved against what the partition holds, with the
//!    firmware's defaults per model.
//!
//! Reference: <https://www.raspberrypi.com/documentation/computers/config_txt.html>.

use std::collections::BTreeMap;

use crate::error::{Error, Result};

/// Characters of a line that the firmware reads.
const LINE_MAX: usize = 98;
/// What the firmware reads in place of `config.txt` for a trial boot.
const TRYBOOT: &str = "tryboot.txt";
/// How deep includes may nest; the firmware does not say, a loop must end.
const INCLUDE_DEPTH: u8 = 8;

/// A Raspberry Pi, as far as the firmware tells models apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Model {
    /// Raspberry Pi 3 Model B.
    Pi3B,
    /// Raspberry Pi 4 Model B.
    Pi4B,
}

/// What the firmware knows about a model.
struct Facts {
    /// Model filters that match.
    filters: &'static [&'static str],
    /// `arm_64bit` when not set.
    wide: bool,
    /// Kernel names to try when none is set: 64-bit, then 32-bit.
    kernels: [&'static [&'static str]; 2],
    /// DTB by vendor kernel name and by mainline name.
    dtb: [&'static str; 2],
}

impl Model {
    /// All that are known.
    pub const ALL: [Model; 2] = [Model::Pi3B, Model::Pi4B];

    /// For people.
    pub const fn name(self) -> &'static str {
        match self {
            Model::Pi3B => "Raspberry Pi 3 Model B",
            Model::Pi4B => "Raspberry Pi 4 Model B",
        }
    }

    /// The names of its DTB: the vendor kernel's, mainline's.
    pub const fn dtbs(self) -> [&'static str; 2] {
        self.facts().dtb
    }

    /// Files that its boot ROM and firmware load from the partition: of each list, one must be there.
    pub const fn firmware(self) -> &'static [&'static [&'static str]] {
        const START: &[&str] = &["start.elf", "start_x.elf", "start_db.elf", "start_cd.elf"];
        const FIXUP: &[&str] = &["fixup.dat", "fixup_x.dat", "fixup_db.dat", "fixup_cd.dat"];
        const START4: &[&str] = &["start4.elf", "start4x.elf", "start4db.elf", "start4cd.elf"];
        const FIXUP4: &[&str] = &["fixup4.dat", "fixup4x.dat", "fixup4db.dat", "fixup4cd.dat"];
        match self {
            Model::Pi3B => &[&["bootcode.bin"], START, FIXUP],
            // Its first stage is in an EEPROM.
            Model::Pi4B => &[START4, FIXUP4],
        }
    }

    const fn facts(self) -> Facts {
        match self {
            Model::Pi3B => Facts {
                filters: &["pi3", "board-type=0x8", "board-type=0x08"],
                wide: false,
                kernels: [&["kernel8.img"], &["kernel7.img", "kernel.img"]],
                dtb: ["bcm2710-rpi-3-b.dtb", "bcm2837-rpi-3-b.dtb"],
            },
            Model::Pi4B => Facts {
                filters: &["pi4", "board-type=0x11"],
                wide: true,
                kernels: [&["kernel8.img"], &["kernel7l.img", "kernel7.img", "kernel.img"]],
                dtb: ["bcm2711-rpi-4-b.dtb", "bcm2711-rpi-4-b.dtb"],
            },
        }
    }
}

/// The files of a boot partition.
pub trait Files {
    /// True when there is such a file.
    fn exists(&self, path: &str) -> bool;
    /// The file's bytes.
    fn read(&self, path: &str) -> Result<Vec<u8>>;
}

/// An overlay to apply, or settings of the base DTB.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overlay {
    /// Path on the partition.
    pub path: String,
    /// `name=value` or `name`, in order.
    pub params: Vec<String>,
}

/// What the firmware would boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// Kernel path on the partition.
    pub kernel: String,
    /// Started in 64-bit state.
    pub wide: bool,
    /// DTB path; `None` when switched off by an empty `device_tree=`.
    pub dtb: Option<String>,
    /// Parameters of the base DTB (`dtparam` before any `dtoverlay`).
    pub dtparams: Vec<String>,
    /// Overlays in order.
    pub overlays: Vec<Overlay>,
    /// Initramfs files, concatenated in order.
    pub initramfs: Vec<String>,
    /// Kernel command line: the first line of `cmdline.txt`.
    pub cmdline: String,
    /// `enable_uart`.
    pub uart: bool,
}

/// Reads the partition's `config.txt` for `model`.
pub fn choose(files: &dyn Files, model: Model) -> Result<Choice> {
    choose_from(files, model, "config.txt")
}

/// What a reboot with the argument `0 tryboot` leads to; `None` without a `tryboot.txt`.
pub fn choose_trial(files: &dyn Files, model: Model) -> Result<Option<Choice>> {
    if files.exists(TRYBOOT) { choose_from(files, model, TRYBOOT).map(Some) } else { Ok(None) }
}

fn choose_from(files: &dyn Files, model: Model, path: &str) -> Result<Choice> {
    let mut settings = Settings::default();
    if files.exists(path) {
        let mut filters = Filters { tryboot: path == TRYBOOT, ..Filters::default() };
        settings.read(files, path, model, &mut filters, 0)?;
    }
    settings.resolve(files, &model.facts())
}

/// Which conditional filters hold; those of one type replace each other, types combine.
#[derive(Debug, Default)]
struct Filters {
    model_off: bool,
    other_off: BTreeMap<&'static str, bool>,
    tryboot: bool,
}

impl Filters {
    fn open(&self) -> bool {
        !self.model_off && self.other_off.values().all(|off| !off)
    }

    fn set(&mut self, filter: &str, facts: &Facts) {
        let lower = filter.to_ascii_lowercase();
        if lower == "all" {
            *self = Filters { tryboot: self.tryboot, ..Filters::default() };
        } else if let Some(kind) =
            ["edid", "hdmi", "gpio", "tryboot", "0x"].iter().find(|k| lower.starts_with(**k))
        {
            // An emulated board has no monitor and no serial number, and its inputs read low.
            let on = match *kind {
                "gpio" => lower.ends_with("=0"),
                "tryboot" => self.tryboot,
                _ => false,
            };
            self.other_off.insert(kind, !on);
        } else {
            self.model_off = !facts.filters.contains(&lower.as_str());
        }
    }
}

#[derive(Debug, Default)]
struct Settings {
    values: BTreeMap<String, String>,
    dtparams: Vec<String>,
    /// Name and parameters.
    overlays: Vec<(String, Vec<String>)>,
    initramfs: Option<String>,
}

impl Settings {
    fn read(
        &mut self,
        files: &dyn Files,
        path: &str,
        model: Model,
        filters: &mut Filters,
        depth: u8,
    ) -> Result<()> {
        if depth > INCLUDE_DEPTH {
            return Err(Error::new(format!("`{path}` is included too deeply"))
                .hint("config.txt seems to include itself"));
        }
        let text = files.read(path)?;
        for line in String::from_utf8_lossy(&text).lines() {
            let line: String = line.chars().take(LINE_MAX).collect();
            let line = line.trim();
            if let Some(filter) = line.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
                filters.set(filter, &model.facts());
            } else if line.is_empty() || line.starts_with('#') || !filters.open() {
            } else if let Some(name) = line.strip_prefix("include ") {
                // A file that is not there is passed over.
                if files.exists(name.trim()) {
                    self.read(files, name.trim(), model, filters, depth + 1)?;
                }
            } else if let Some(rest) = line.strip_prefix("initramfs ") {
                self.initramfs = rest.split_whitespace().next().map(str::to_string);
            } else if let Some((key, value)) = line.split_once('=') {
                self.set(key.trim(), value.trim());
            }
        }
        Ok(())
    }

    fn set(&mut self, key: &str, value: &str) {
        let list =
            |text: &str| text.split(',').filter(|p| !p.is_empty()).map(str::to_string).collect::<Vec<_>>();
        match key {
            // An empty one ends the parameters of the overlay before it.
            "dtoverlay" if value.is_empty() => self.overlays.push((String::new(), Vec::new())),
            "dtoverlay" => {
                let (name, params) = value.split_once([',', ':']).unwrap_or((value, ""));
                self.overlays.push((name.to_string(), list(params)));
            }
            "dtparam" => match self.overlays.last_mut() {
                Some((name, params)) if !name.is_empty() => params.extend(list(value)),
                _ => self.dtparams.extend(list(value)),
            },
            "ramfsfile" => self.initramfs = Some(value.to_string()),
            _ => {
                self.values.insert(key.to_string(), value.to_string());
            }
        }
    }

    fn flag(&self, key: &str) -> Option<bool> {
        self.values.get(key).map(|value| value.parse::<i64>().is_ok_and(|n| n != 0))
    }

    fn resolve(self, files: &dyn Files, facts: &Facts) -> Result<Choice> {
        let explicit = self.values.get("kernel").map(String::as_str);
        let wide = match explicit {
            Some("kernel8.img") => true,
            Some("kernel.img" | "kernel7.img" | "kernel7l.img") => false,
            _ => self.flag("arm_64bit").unwrap_or(facts.wide),
        };
        let kernels: Vec<&str> = match explicit {
            Some(name) => vec![name],
            None if wide => facts.kernels[0].to_vec(),
            None => facts.kernels[1].to_vec(),
        };
        let upstream = self.flag("upstream_kernel").unwrap_or(false);
        let dtbs: Vec<&str> = match self.values.get("device_tree").map(String::as_str) {
            Some("") => Vec::new(),
            Some(name) => vec![name],
            None if upstream => vec![facts.dtb[1], facts.dtb[0]],
            None => facts.dtb.to_vec(),
        };

        let asked =
            self.values.get("os_prefix").cloned().or_else(|| upstream.then(|| "upstream/".to_string()));
        let find = |prefix: &str, names: &[&str]| {
            names.iter().map(|name| under(prefix, name)).find(|path| files.exists(path))
        };
        // A prefix without a kernel and a DTB behind it is ignored.
        let prefix = asked
            .filter(|prefix| {
                find(prefix, &kernels).is_some() && (dtbs.is_empty() || find(prefix, &dtbs).is_some())
            })
            .unwrap_or_default();

        let kernel = find(&prefix, &kernels).ok_or_else(|| missing("kernel", &kernels))?;
        let dtb = match dtbs.as_slice() {
            [] => None,
            names => Some(find(&prefix, names).ok_or_else(|| missing("DTB", names))?),
        };
        let overlays = self.resolve_overlays(files, &prefix)?;
        let initramfs = self.resolve_initramfs(files, &prefix, &kernel)?;
        let cmdline = under(&prefix, self.values.get("cmdline").map_or("cmdline.txt", String::as_str));
        let cmdline = if files.exists(&cmdline) {
            let text = files.read(&cmdline)?;
            String::from_utf8_lossy(&text).lines().next().unwrap_or_default().trim().to_string()
        } else {
            String::new()
        };
        Ok(Choice {
            wide,
            kernel,
            dtb,
            overlays,
            initramfs,
            cmdline,
            uart: self.flag("enable_uart").unwrap_or(false),
            dtparams: self.dtparams,
        })
    }

    /// The firmware passes silently over an overlay that is not there; whoever tests an image wants to know.
    fn resolve_overlays(&self, files: &dyn Files, prefix: &str) -> Result<Vec<Overlay>> {
        let dir = self.values.get("overlay_prefix").map_or("overlays/", String::as_str);
        let own = under(prefix, dir);
        let base = if files.exists(&format!("{own}README")) { own } else { dir.to_string() };
        let named = self.overlays.iter().filter(|(name, _)| !name.is_empty());
        named
            .map(|(name, params)| {
                let path = format!("{base}{name}.dtbo");
                if files.exists(&path) {
                    Ok(Overlay { path, params: params.clone() })
                } else {
                    Err(missing("overlay", &[&path]))
                }
            })
            .collect()
    }

    fn resolve_initramfs(&self, files: &dyn Files, prefix: &str, kernel: &str) -> Result<Vec<String>> {
        if let Some(names) = &self.initramfs {
            return names
                .split(',')
                .map(|name| under(prefix, name))
                .map(|path| if files.exists(&path) { Ok(path) } else { Err(missing("initramfs", &[&path])) })
                .collect();
        }
        // `kernel8.img` goes with `initramfs8`.
        let auto = kernel.replace("kernel", "initramfs").trim_end_matches(".img").to_string();
        let wanted = self.flag("auto_initramfs").unwrap_or(false) && auto != kernel && files.exists(&auto);
        Ok(if wanted { vec![auto] } else { Vec::new() })
    }
}

/// A path that starts with `/` counts from the partition's root and bypasses the prefix.
fn under(prefix: &str, name: &str) -> String {
    match name.strip_prefix('/') {
        Some(absolute) => absolute.to_string(),
        None => format!("{prefix}{name}"),
    }
}

fn missing(what: &str, names: &[&str]) -> Error {
    let mut names = names.to_vec();
    // Some models have one DTB name for all kernels.
    names.dedup();
    Error::new(format!(
        "config.txt leads to {what} `{}`, which is not on the boot partition",
        names.join("` or `")
    ))
    .hint("the Raspberry Pi's firmware would not find it either")
}
