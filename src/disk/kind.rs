//! Partition types by name.
//!
//! Source: UEFI 2.10 section 5.3.3, the Discoverable Partitions Specification, U-Boot
//! `lib/uuid.c` (u-boot-env), `sfdisk --list-types`, genimage `README.rst`, <https://www.win.tue.nl/~aeb/partitions/partition_types-1.html>.

use uuid::Uuid;

use crate::disk::Table;
use crate::error::{Error, Result, nearest};

/// Name, MBR code, GPT type.
type Known = (&'static str, Option<u8>, Option<Uuid>);

/// The types that boards use most, under the names that profiles should use.
const KNOWN: &[Known] = &[
    ("esp", Some(0xEF), Some(Uuid::from_u128(0xC12A7328_F81F_11D2_BA4B_00A0C93EC93B))),
    ("fat", Some(0x0C), BASIC_DATA),
    ("basic-data", Some(0x0C), BASIC_DATA),
    ("linux", Some(0x83), Some(Uuid::from_u128(0x0FC63DAF_8483_4772_8E79_3D69D8477DE4))),
    ("linux-root-arm", Some(0x83), Some(Uuid::from_u128(0x69DAD710_2CE4_4E3C_B16C_21A1D49ABED3))),
    ("linux-root-arm64", Some(0x83), Some(Uuid::from_u128(0xB921B045_1DF0_41C3_AF44_4C6F280D3FAE))),
    ("linux-root-riscv64", Some(0x83), Some(Uuid::from_u128(0x72EC70A6_CF74_40E6_BD49_4BDA08E8F224))),
    ("linux-root-x86-64", Some(0x83), Some(Uuid::from_u128(0x4F68BCE3_E8CD_4DB1_96E7_FBCAF984B709))),
    ("linux-home", Some(0x83), Some(Uuid::from_u128(0x933AC7E1_2EB4_4F13_B844_0E14E2AEF915))),
    ("linux-srv", Some(0x83), Some(Uuid::from_u128(0x3B8F8425_20E0_4F3B_907F_1A25A76F98E8))),
    ("linux-var", Some(0x83), Some(Uuid::from_u128(0x4D21B016_B534_45C2_A9FB_5C16E091FD2D))),
    ("swap", Some(0x82), Some(Uuid::from_u128(0x0657FD6D_A4AB_43C4_84E5_0933C84B4F4F))),
    ("raid", Some(0xFD), Some(Uuid::from_u128(0xA19D880F_05FC_4D3B_A006_743F0F84911E))),
    ("lvm", Some(0x8E), Some(Uuid::from_u128(0xE6D6D379_F507_44C2_A23C_238F2A3DF928))),
    ("xbootldr", Some(0xEA), Some(Uuid::from_u128(0xBC13C2FF_59E6_4262_A352_B275FD6F7172))),
    ("bios-boot", None, Some(Uuid::from_u128(0x21686148_6449_6E6F_744E_656564454649))),
    ("u-boot-env", None, Some(Uuid::from_u128(0x3DE21764_95BD_54BD_A5C3_4ABE786F38A8))),
    ("fat12", Some(0x01), BASIC_DATA),
    ("fat16", Some(0x0E), BASIC_DATA),
    ("fat32", Some(0x0C), BASIC_DATA),
    ("raw", Some(0xDA), Some(Uuid::from_u128(0x8DA63339_0007_60C0_C436_083AC8230908))),
];

const BASIC_DATA: Option<Uuid> = Some(Uuid::from_u128(0xEBD0A0A2_B9E5_4433_87C0_68B6B72699C7));

/// The one-letter names of sfdisk and genimage, and `uefi`, which both have.
const SHORT: [(&str, &str); 8] = [
    ("L", "linux"),
    ("S", "swap"),
    ("H", "linux-home"),
    ("U", "esp"),
    ("R", "raid"),
    ("V", "lvm"),
    ("F", "basic-data"),
    ("uefi", "esp"),
];

/// Every name that sfdisk and genimage have.
const TABLE: &str = include_str!("types.txt");

/// MBR code of an entry without a partition.
const EMPTY: u8 = 0x00;

/// MBR code of the entry that covers a GPT.
const PROTECTIVE: u8 = 0xEE;

/// MBR codes of extended partitions: those are made for logical partitions, not declared.
const EXTENDED: [u8; 3] = [0x05, 0x0F, 0x85];

/// A partition type: a name, an MBR code (`0x0c`) or a GPT type GUID.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionType {
    text: String,
    mbr: Option<u8>,
    gpt: Option<Uuid>,
}

impl PartitionType {
    /// Reads what a profile says: `esp`, `linux-root-arm64`, `0x0c`, a GUID, or a name that sfdisk or
    /// genimage has for a type.
    pub fn parse(text: &str) -> Result<Self> {
        let this = |mbr, gpt| Ok(PartitionType { text: text.to_string(), mbr, gpt });
        let name = SHORT.iter().find(|(short, _)| *short == text).map_or(text, |(_, name)| name);
        if let Some((_, mbr, gpt)) = KNOWN.iter().find(|(known, ..)| *known == name) {
            return this(*mbr, *gpt);
        }
        if let Some(code) = text.strip_prefix("0x").and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            check_code(text, code)?;
            return this(Some(code), None);
        }
        if let Ok(guid) = text.parse::<Uuid>()
            && !guid.is_nil()
        {
            return this(None, Some(guid));
        }
        match look_up(text) {
            (None, None) => Err(unknown(text)),
            (mbr, gpt) => this(mbr, gpt),
        }
    }

    /// The names that profiles should use, then all others.
    pub fn names() -> impl Iterator<Item = &'static str> {
        KNOWN.iter().map(|(name, ..)| *name).chain(rows().flat_map(|(_, names)| names))
    }

    /// The name of an MBR code, the first one where several mean the same.
    pub fn name_of_code(code: u8) -> Option<&'static str> {
        KNOWN.iter().find(|(_, mbr, _)| *mbr == Some(code)).map(|(name, ..)| *name)
    }

    /// The name of a GPT type.
    pub fn name_of_guid(guid: &Uuid) -> Option<&'static str> {
        KNOWN.iter().find(|(.., gpt)| gpt.as_ref() == Some(guid)).map(|(name, ..)| *name)
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The code in an MBR.
    pub(super) fn code(&self) -> Result<u8> {
        self.mbr.ok_or_else(|| self.no_place_in("an MBR"))
    }

    /// The GUID in a GPT.
    pub(super) fn guid(&self) -> Result<Uuid> {
        self.gpt.ok_or_else(|| self.no_place_in("a GPT"))
    }

    /// Checks that the table can say it.
    pub fn check(&self, table: Table) -> Result<()> {
        match table {
            Table::Mbr => self.code().map(drop),
            Table::Gpt | Table::Hybrid => self.guid().map(drop),
            Table::None => Ok(()),
        }
    }

    fn no_place_in(&self, table: &str) -> Error {
        let other = if table == "an MBR" {
            "a name such as `linux`, or a code such as `0x0c`"
        } else {
            "a name such as `linux`, or a GUID"
        };
        Error::usage(format!("the partition type `{}` has no place in {table}", self.text))
            .hint(format!("write {other}"))
    }
}

/// Codes that a table has for itself. An entry of type 0 is a partition to Linux and none to U-Boot.
fn check_code(text: &str, code: u8) -> Result<()> {
    let (what, hint) = match code {
        EMPTY => (
            "an empty entry",
            "write what the partition holds: a name such as `linux`, or a code such as `0x83`",
        ),
        PROTECTIVE => (
            "the entry that protects a GPT",
            "it is made with every GPT; write what the partition holds: a name such as `linux`, or a code such as `0x83`",
        ),
        code if EXTENDED.contains(&code) => {
            ("an extended partition", "say `logical = true` in the partitions inside it; it is made for them")
        }
        _ => return Ok(()),
    };
    Err(Error::usage(format!("`{text}` is the type of {what}")).hint(hint))
}

/// Code or GUID, and names, of every row of [`TABLE`].
fn rows() -> impl Iterator<Item = (&'static str, std::str::Split<'static, &'static str>)> {
    TABLE
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once(' '))
        .map(|(id, names)| (id, names.split(" | ")))
}

/// What the table has for a name: as it stands there, else whatever its case and punctuation.
fn look_up(text: &str) -> (Option<u8>, Option<Uuid>) {
    let plain = |name: &str| -> String {
        name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
    };
    let wanted = plain(text);
    if wanted.is_empty() {
        return (None, None);
    }
    // `linux-usr-arm64` is genimage's `usr-arm64`.
    let short = wanted.strip_prefix("linux").filter(|rest| !rest.is_empty());
    let find = |is_mbr: bool, matches: &dyn Fn(&str) -> bool| {
        rows().filter(|(id, _)| id.starts_with("0x") == is_mbr).find(|(_, names)| names.clone().any(matches))
    };
    let best = |is_mbr| {
        find(is_mbr, &|name| name == text)
            .or_else(|| {
                find(is_mbr, &|name| plain(name) == wanted || short.is_some_and(|s| plain(name) == s))
            })
            .map(|(id, _)| id)
    };
    (
        best(true).and_then(|id| u8::from_str_radix(id.trim_start_matches("0x"), 16).ok()),
        best(false).and_then(|id| id.parse().ok()),
    )
}

fn unknown(text: &str) -> Error {
    let error = Error::usage(format!("`{text}` is not a partition type"));
    match nearest(text, PartitionType::names()) {
        Some(name) => error.hint(format!("did you mean `{name}`?")),
        None => error.hint("write a name such as `esp` or `linux`, an MBR code such as `0x0c`, or a GUID"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::Cmd;

    #[test]
    fn names_codes_and_guids() {
        assert_eq!(PartitionType::parse("0x0c").unwrap().code().unwrap(), 0x0C);
        assert_eq!(PartitionType::parse("esp").unwrap().code().unwrap(), 0xEF);
        let guid = "0fc63daf-8483-4772-8e79-3d69d8477de4";
        assert_eq!(PartitionType::parse(guid).unwrap().guid().unwrap().to_string(), guid);
        for bad in ["0x123", "", "00000000-0000-0000-0000-000000000000"] {
            assert!(PartitionType::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn every_name_of_sfdisk() {
        for (label, least) in [("gpt", 150), ("dos", 80)] {
            let list = Cmd::new("sfdisk").args(["--list-types", "--label", label]).check().unwrap().text();
            let mut known = 0;
            for (id, name) in list.lines().filter_map(|line| line.trim().split_once("  ")) {
                let Ok(kind) = PartitionType::parse(name.trim()) else { continue };
                let same = match u8::from_str_radix(id, 16) {
                    Ok(code) => {
                        kind.mbr.is_none_or(|mbr| mbr == code)
                            || name.contains("NTFS")
                            || name.contains("Speed")
                    }
                    Err(_) => kind.gpt.map(|guid| guid.to_string()) == Some(id.to_lowercase()),
                };
                assert!(same, "{id} {name}: {kind:?}");
                known += 1;
            }
            assert!(known >= least, "{known} of {list}");
        }
    }

    #[test]
    fn names_of_others() {
        for (name, code, guid) in [
            ("U", Some(0xEF), "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"),
            ("root-arm64", None, "b921b045-1df0-41c3-af44-4c6f280d3fae"),
            ("linux-root-arm64-verity", None, "df3300ce-d69f-4c92-978c-9bfb0f38d820"),
            ("Linux root (ARM-64)", None, "b921b045-1df0-41c3-af44-4c6f280d3fae"),
            ("linux lvm", Some(0x8E), "e6d6d379-f507-44c2-a23c-238f2a3df928"),
            ("home", None, "933ac7e1-2eb4-4f13-b844-0e14e2aef915"),
        ] {
            let kind = PartitionType::parse(name).unwrap();
            assert_eq!((kind.mbr, kind.gpt.unwrap().to_string().as_str()), (code, guid), "{name}");
        }
        assert_eq!(PartitionType::parse("W95 FAT32 (LBA)").unwrap().code().unwrap(), 0x0C);
    }

    #[test]
    fn every_row_is_whole() {
        for (id, names) in rows() {
            assert!(id.parse::<Uuid>().is_ok() || id.len() == 4, "{id}");
            for name in names {
                let (mbr, gpt) = look_up(name);
                assert!(mbr.is_some() || gpt.is_some(), "{id} {name}");
            }
        }
    }

    #[test]
    fn mistakes_are_told() {
        assert_eq!(
            PartitionType::parse("0x0f").unwrap_err().to_string(),
            "`0x0f` is the type of an extended partition\n\n\
             hint: say `logical = true` in the partitions inside it; it is made for them"
        );
        for empty in ["0x00", "0x0"] {
            assert_eq!(
                PartitionType::parse(empty).unwrap_err().to_string(),
                format!(
                    "`{empty}` is the type of an empty entry\n\n\
                     hint: write what the partition holds: a name such as `linux`, or a code such as `0x83`"
                )
            );
        }
        assert_eq!(
            PartitionType::parse("0xEE").unwrap_err().to_string(),
            "`0xEE` is the type of the entry that protects a GPT\n\n\
             hint: it is made with every GPT; write what the partition holds: a name such as `linux`, \
             or a code such as `0x83`"
        );
        assert_eq!(
            PartitionType::parse("linux-rot-arm64").unwrap_err().to_string(),
            "`linux-rot-arm64` is not a partition type\n\nhint: did you mean `linux-root-arm64`?"
        );
        assert_eq!(
            PartitionType::parse("0x0c").unwrap().check(Table::Gpt).unwrap_err().to_string(),
            "the partition type `0x0c` has no place in a GPT\n\nhint: write a name such as `linux`, or a GUID"
        );
    }
}
