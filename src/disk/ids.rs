//! Identifiers, derived from a seed and a role: known before writing, equal for equal inputs.

use uuid::Uuid;

use crate::digest::Digest;
use crate::disk::layout::numbers;
use crate::disk::{DiskSpec, Fill, PartitionSpec, Table};
use crate::error::{Error, Result};

/// The 32 bytes for a role.
fn derive(seed: &Digest, role: &[&str]) -> [u8; 32] {
    let fields = [b"bimg disk".as_slice(), seed.0.as_slice()];
    Digest::of_fields(fields.into_iter().chain(role.iter().map(|part| part.as_bytes()))).0
}

/// A UUID of version 8, made from a hash (RFC 9562).
fn guid(seed: &Digest, role: &[&str]) -> Uuid {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&derive(seed, role)[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

impl DiskSpec {
    /// The disk's GUID.
    pub(super) fn disk_guid(&self) -> Uuid {
        self.uuid.unwrap_or_else(|| guid(&self.seed, &["disk"]))
    }

    /// The MBR's disk signature; a derived one is never 0, which means none. A protective MBR has none.
    pub(super) fn signature(&self) -> u32 {
        if let Some(signature) = self.signature {
            return signature;
        }
        if self.table != Table::Mbr {
            return 0;
        }
        let bytes = derive(&self.seed, &["mbr"]);
        u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]).max(1)
    }

    /// A partition's GUID.
    pub(super) fn partition_guid(&self, partition: &PartitionSpec) -> Result<Uuid> {
        match &partition.uuid {
            None => Ok(guid(&self.seed, &["partition", &partition.name])),
            Some(text) => text.parse().map_err(|_| {
                Error::usage(format!("`{text}`, the UUID of partition `{}`, is not one", partition.name))
                    .hint("a UUID looks like `0fc63daf-8483-4772-8e79-3d69d8477de4`")
            }),
        }
    }

    /// What a filesystem's UUID, serial number and hash seed derive from.
    pub(super) fn filesystem_seed(&self, name: &str) -> [u8; 32] {
        derive(&self.seed, &["filesystem", name])
    }

    fn find(&self, name: &str) -> Result<(usize, &PartitionSpec)> {
        let mut all = self.partitions.iter().enumerate();
        all.find(|(_, partition)| partition.name == name)
            .ok_or_else(|| Error::usage(format!("there is no partition named `{name}`")))
    }

    /// A partition's UUID as the kernel's `root=PARTUUID=` takes it.
    pub fn partuuid(&self, name: &str) -> Result<String> {
        let (index, partition) = self.find(name)?;
        match self.table {
            Table::Gpt | Table::Hybrid => Ok(self.partition_guid(partition)?.to_string()),
            Table::Mbr => Ok(format!("{:08x}-{:02x}", self.signature(), numbers(self)?.partitions[index])),
            Table::None => Err(Error::usage(format!("partition `{name}` has no PARTUUID"))
                .caused_by("the disk has no partition table")
                .hint("name the root filesystem in `kernel.cmdline`: `root=/dev/mmcblk0`")),
        }
    }

    /// A filesystem's UUID as `root=UUID=` and `/etc/fstab` take it; `None` without a filesystem, or for
    /// one that has none.
    pub fn filesystem_uuid(&self, name: &str) -> Result<Option<String>> {
        let (_, partition) = self.find(name)?;
        let uuid = match &partition.fill {
            Fill::Filesystem { kind, .. } => Some(kind.format().uuid(&self.filesystem_seed(name))),
            _ => None,
        };
        Ok(uuid.filter(|uuid| !uuid.is_empty()))
    }
}
