//! Finds a profile by name or path and lays it over what it extends.

use std::path::{Path, PathBuf};

use super::raw::{Over, RawBoard};
use super::text;
use crate::data::{DataDirs, DataFile, read_host};
use crate::error::{Error, Result, nearest};

/// Which board, as the user says it.
#[derive(Debug, Clone, Copy)]
pub struct Select<'a> {
    /// A name, or a path (it holds a `/` or ends with `.toml`).
    pub board: &'a str,
    /// Kernel variant.
    pub variant: Option<&'a str>,
}

/// A profile merged with its bases.
#[derive(Debug)]
pub struct Loaded {
    pub name: String,
    pub asked: String,
    pub shown: String,
    pub raw: RawBoard,
    /// The profile first, then its bases.
    pub files: Vec<DataFile>,
    /// Directory of a profile given by path: what it names is looked up there first.
    pub base: Option<PathBuf>,
}

/// Names of all boards: the user's and the built-in ones.
pub fn names(dirs: &DataDirs) -> Result<Vec<String>> {
    dirs.names("boards")
}

/// Reads the profile and what it extends.
pub fn load(board: &str, dirs: &DataDirs) -> Result<Loaded> {
    let is_path = board.contains('/') || Path::new(board).extension().is_some_and(|ext| ext == "toml");
    let (name, file, base) = if is_path {
        let path = Path::new(board);
        let name = name_of(path);
        let file = read_host(path, &format!("boards/{name}.toml")).map_err(|error| {
            error.into_usage().hint("`bimg boards list` shows the boards that need no path")
        })?;
        let base = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        (name, file, Some(base.to_owned()))
    } else {
        check_name(board)?;
        let Some(file) = dirs.find(&format!("boards/{board}.toml"))? else {
            return Err(unknown(board, &names(dirs)?));
        };
        (board.to_string(), file, None)
    };
    let shown = file.shown.clone();
    let mut files = Vec::new();
    let raw = merge(file, dirs, base.as_deref(), &mut Vec::new(), &mut files)?;
    Ok(Loaded { name, asked: board.to_string(), shown, raw, files, base })
}

/// Characters of a board's name. It becomes a directory, a host name and a disk's GUID: nothing strange in it.
fn is_plain(c: char) -> bool {
    starts_well(c) || "-_.".contains(c)
}

fn starts_well(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit()
}

/// Most characters of a board's name.
const LONGEST: usize = 64;

/// The name of a board given by path, whose file may be called anything: `My Board.toml` is `my-board`.
fn name_of(path: &Path) -> String {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    let name: String = stem
        .trim_start_matches(|c| !starts_well(c))
        .chars()
        .map(|c| if is_plain(c) { c } else { '-' })
        .take(LONGEST)
        .collect();
    if name.is_empty() { "board".to_string() } else { name }
}

fn check_name(name: &str) -> Result<()> {
    if name.starts_with(starts_well) && name.len() <= LONGEST && name.chars().all(is_plain) {
        return Ok(());
    }
    let shown: String = name
        .chars()
        .map(|c| if c.is_control() { c.escape_debug().to_string() } else { c.to_string() })
        .collect();
    Err(Error::usage(format!("`{shown}` is not a board name"))
        .caused_by(
            "a name holds lower-case letters, digits, `-`, `_` and `.`, and starts with a letter or digit",
        )
        .hint("`bimg boards list` shows the boards there are"))
}

fn unknown(board: &str, all: &[String]) -> Error {
    let error = Error::usage(format!("there is no board `{board}`"));
    match nearest(board, all.iter().map(String::as_str)) {
        Some(name) => error.hint(format!("did you mean `{name}`? `bimg boards list` shows all")),
        None => error.hint(format!("boards: {}", all.join(", "))),
    }
}

/// Looks for what a profile names: beside a profile given by path, then among the data files.
pub fn reference(name: &str, base: Option<&Path>, dirs: &DataDirs) -> Result<Option<DataFile>> {
    if let Some(base) = base {
        let path = base.join(name);
        if path.is_file() {
            return read_host(&path, &format!("boards/{}", name.trim_start_matches("../"))).map(Some);
        }
    }
    if name.starts_with('/') || name.split('/').any(|part| part == "..") {
        return Ok(None);
    }
    dirs.find(&format!("boards/{name}"))
}

fn merge(
    file: DataFile,
    dirs: &DataDirs,
    base: Option<&Path>,
    above: &mut Vec<String>,
    files: &mut Vec<DataFile>,
) -> Result<RawBoard> {
    let mut raw: RawBoard = text::parse(&file)?;
    let extends = raw.extends.take().unwrap_or_default();
    above.push(file.name.clone());
    files.push(file);
    for parent in extends.into_iter().rev() {
        let Some(file) = reference(&parent.value, base, dirs)? else {
            return Err(parent
                .place
                .error(format!("profile `{}` is not there", parent.value), "extended here")
                .hint("names are looked up beside the profile, then as `boards/NAME`"));
        };
        if above.contains(&file.name) {
            return Err(parent
                .place
                .error(format!("profile `{}` extends itself", parent.value), "extended here again")
                .hint("remove one of the two `extends`"));
        }
        raw = raw.over(merge(file, dirs, base, above, files)?);
    }
    above.pop();
    Ok(raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_file_gives_a_name() {
        for (path, name) in [
            ("boards/rpi4.toml", "rpi4"),
            ("A.toml", "a"),
            ("./My Board.toml", "my-board"),
            ("../_x v1.2.toml", "x-v1.2"),
            (".toml", "toml"),
            ("ü.toml", "board"),
            ("/", "board"),
        ] {
            assert_eq!(name_of(Path::new(path)), name, "{path}");
            check_name(name).unwrap();
        }
        assert_eq!(name_of(Path::new(&"a".repeat(80))).len(), LONGEST);
    }
}
