//! What U-Boot makes of a boot partition: an own reading of the state and the scripts, apart from bimg's.
//!
//! It does what `boot.scr` says in its second part: takes an armed trial away, sees it gone, and starts it; else the
//! default; else the image's own kernel.

use std::fs;
use std::path::Path;

/// What a boot starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    /// Deployment; none for the image's own kernel.
    pub id: Option<String>,
    /// It was armed, and is no more.
    pub trial: bool,
    /// Kernel command line.
    pub cmdline: String,
    /// Release that the script announces.
    pub release: String,
}

/// The state as `env import -t` reads it: `(default, trial)`; of two lines with one name the first wins.
pub fn state(boot: &Path) -> (String, String) {
    let bytes = fs::read(boot.join("bimg.env")).unwrap();
    assert_eq!(bytes.len(), 512, "the state is one sector");
    let text = String::from_utf8(bytes).unwrap();
    let value = |name: &str| {
        let found = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        found.unwrap_or_else(|| panic!("no {name} in {text:?}")).to_string()
    };
    (value("bimg_default"), value("bimg_trial"))
}

/// Chooses, and takes the trial away on the way.
pub fn choose(boot: &Path) -> Start {
    let (default, trial) = state(boot);
    if trial != "none" {
        let path = boot.join("bimg.env");
        let mut bytes = fs::read(&path).unwrap();
        bytes[0] = b'#';
        fs::write(&path, bytes).unwrap();
        assert_eq!(state(boot), (default.clone(), "none".to_string()), "the trial does not go away");
        if let Some(start) = script(boot, &format!("bimg/{trial}/"), "trial.scr") {
            return Start { id: Some(trial), trial: true, ..start };
        }
    }
    if default != "image"
        && let Some(start) = script(boot, &format!("bimg/{default}/"), "boot.scr")
    {
        return Start { id: Some(default), ..start };
    }
    script(boot, "", "boot.scr").expect("the image's own kernel starts")
}

/// Reads a script (U-Boot image header of 64 bytes, a table of lengths, text) and sees that what it loads is there.
fn script(boot: &Path, dir: &str, name: &str) -> Option<Start> {
    let bytes = fs::read(boot.join(dir).join(name)).ok()?;
    assert_eq!(bytes[..4], [0x27, 0x05, 0x19, 0x56], "{dir}{name} has U-Boot's magic number");
    let text = std::str::from_utf8(&bytes[72..]).unwrap();
    // In the image's own script, what starts its kernel comes last.
    let last = |start: &str| text.lines().rev().find_map(|line| line.trim().strip_prefix(start));
    let word = |text: &str| text.trim_matches('\'').to_string();
    for file in [last("setenv bimg_kernel "), last("setenv bimg_fdt ")] {
        let path = word(file?);
        let own = path.starts_with("bimg/kernels/") || dir.is_empty() && !path.starts_with("bimg/");
        assert!(own, "{dir}{name} loads {path}");
        if !boot.join(path).is_file() {
            return None;
        }
    }
    Some(Start {
        id: None,
        trial: false,
        cmdline: word(last("setenv bootargs ")?),
        release: last("echo \"bimg: Linux ")?.split(' ').next()?.to_string(),
    })
}
