//! Partition types by name.
//!
//! Source: UEFI 2.10 section 5.3.3, the Discoverable Partitions Specification, U-Boot
//! `lib/uuid.c` (u-boot-env), <https://www.win.tue.nl/~aeb/partitions/partition_types-1.html>.

use uuid::Uuid;

use crate::disk::Table;
use crate::error::{Error, Result, nearest};

/// Name, MBR code, GPT type.
type Known = (&'static str, Option<u8>, Option<Uuid>);

/// The types that have names.
const KNOWN: &[Known] = &[
    ("esp", Some(0xEF), Some(Uuid::from_u128(0xC12A7328_F81F_11D2_BA4B_00A0C93EC93B))),
    ("fat", Some(0x0C), Some(Uuid::from_u128(0xEBD0A0A2_B9E5_4433_87C0_68B6B72699C7))),
    ("linux", Some(0x83), Some(Uuid::from_u128(0x0FC63DAF_8483_4772_8E79_3D69D8477DE4))),
    ("linux-root-arm", Some(0x83), Some(Uuid::from_u128(0x69DAD710_2CE4_4E3C_B16C_21A1D49ABED3))),
    ("linux-root-arm64", Some(0x83), Some(Uuid::from_u128(0xB921B045_1DF0_41C3_AF44_4C6F280D3FAE))),
    ("linux-root-riscv64", Some(0x83), Some(Uuid::from_u128(0x72EC70A6_CF74_40E6_BD49_4BDA08E8F224))),
    ("linux-root-x86-64", Some(0x83), Some(Uuid::from_u128(0x4F68BCE3_E8CD_4DB1_96E7_FBCAF984B709))),
    ("linux-home", Some(0x83), Some(Uuid::from_u128(0x933AC7E1_2EB4_4F13_B844_0E14E2AEF915))),
    ("linux-srv", Some(0x83), Some(Uuid::from_u128(0x3B8F8425_20E0_4F3B_907F_1A25A76F98E8))),
    ("linux-var", Some(0x83), Some(Uuid::from_u128(0x4D21B016_B534_45C2_A9FB_5C16E091FD2D))),
    ("swap", Some(0x82), Some(Uuid::from_u128(0x0657FD6D_A4AB_43C4_84E5_0933C84B4F4F))),
    ("xbootldr", Some(0xEA), Some(Uuid::from_u128(0xBC13C2FF_59E6_4262_A352_B275FD6F7172))),
    ("bios-boot", None, Some(Uuid::from_u128(0x21686148_6449_6E6F_744E_656564454649))),
    ("u-boot-env", None, Some(Uuid::from_u128(0x3DE21764_95BD_54BD_A5C3_4ABE786F38A8))),
    ("fat12", Some(0x01), None),
    ("fat16", Some(0x0E), None),
    ("fat32", Some(0x0C), None),
    ("raw", Some(0xDA), Some(Uuid::from_u128(0x8DA63339_0007_60C0_C436_083AC8230908))),
];

/// A partition type: a name, an MBR code (`0x0c`) or a GPT type GUID.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionType {
    text: String,
    mbr: Option<u8>,
    gpt: Option<Uuid>,
}

impl PartitionType {
    /// Reads what a profile says: `esp`, `linux-root-arm64`, `0x0c`, or a GUID.
    pub fn parse(text: &str) -> Result<Self> {
        let this = |mbr, gpt| Ok(PartitionType { text: text.to_string(), mbr, gpt });
        if let Some((_, mbr, gpt)) = KNOWN.iter().find(|(name, ..)| *name == text) {
            return this(*mbr, *gpt);
        }
        if let Some(code) = text.strip_prefix("0x").and_then(|hex| u8::from_str_radix(hex, 16).ok())
            && code != 0
        {
            return this(Some(code), None);
        }
        if let Ok(guid) = text.parse::<Uuid>()
            && !guid.is_nil()
        {
            return this(None, Some(guid));
        }
        let error = Error::usage(format!("`{text}` is not a partition type"));
        Err(match nearest(text, Self::names()) {
            Some(name) => error.hint(format!("did you mean `{name}`?")),
            None => {
                error.hint("write a name such as `esp` or `linux`, an MBR code such as `0x0c`, or a GUID")
            }
        })
    }

    /// The names that [`PartitionType::parse`] knows.
    pub fn names() -> impl Iterator<Item = &'static str> {
        KNOWN.iter().map(|(name, ..)| *name)
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
            Table::Gpt => self.guid().map(drop),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_codes_and_guids() {
        assert_eq!(PartitionType::parse("0x0c").unwrap().code().unwrap(), 0x0C);
        assert_eq!(PartitionType::parse("esp").unwrap().code().unwrap(), 0xEF);
        let guid = "0fc63daf-8483-4772-8e79-3d69d8477de4";
        assert_eq!(PartitionType::parse(guid).unwrap().guid().unwrap().to_string(), guid);
        for bad in ["0x00", "0x123", "", "00000000-0000-0000-0000-000000000000"] {
            assert!(PartitionType::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn mistakes_are_told() {
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
