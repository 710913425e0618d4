//! Assembles an image from a root filesystem (a tar or a directory) and a directory of boot files: what
//! `scripts/bench-image` measures. Not part of the program.
//!
//! `assemble OUT.img ROOT BOOT`

use std::path::Path;

use bimg::digest::Digest;
use bimg::disk::{self, DiskSpec, Fill, PartitionSpec, PartitionType, Size, Table};
use bimg::error::{Error, Result};
use bimg::filesystem::Kind;
use bimg::fsx;
use bimg::progress::Silent;
use bimg::tree::{Timestamp, Tree, TreePath, directory, tar};
use bimg::units::ByteSize;

fn tree(layer: &Path) -> Result<Tree> {
    let mut tree = Tree::new(Timestamp::default());
    if layer.is_dir() {
        directory::lay(&mut tree, &TreePath::root(), layer, directory::Ownership::Kept)?;
    } else {
        tar::lay(&mut tree, layer)?;
    }
    Ok(tree)
}

fn partition(name: &str, kind: &str, format: Kind, size: Size, tree: Tree) -> Result<PartitionSpec> {
    Ok(PartitionSpec {
        bootable: name == "boot",
        size,
        fill: Fill::filesystem(format, name, Some(tree)),
        ..PartitionSpec::new(name, PartitionType::parse(kind)?)
    })
}

fn main() -> Result<()> {
    let args: Vec<_> = std::env::args_os().skip(1).collect();
    let [out, root, boot] = args.as_slice() else {
        return Err(Error::usage("usage: assemble OUT.img ROOT BOOT"));
    };
    let boot = partition("boot", "esp", Kind::Fat32, Size::Fixed(ByteSize::mib(40)), tree(boot.as_ref())?)?;
    let room = Size::Auto { room: ByteSize::mib(64) };
    let root = partition("root", "linux-root-arm64", Kind::Ext4, room, tree(root.as_ref())?)?;
    let spec = DiskSpec { partitions: vec![boot, root], ..DiskSpec::new(Table::Gpt, Digest::of(b"bench")) };
    let out = Path::new(out);
    let facts = disk::write(&spec, &disk::layout(&spec)?, out, || Ok(()), &Silent)?;
    fsx::write_atomic(&out.with_extension("bmap"), facts.bmap().as_bytes())?;
    disk::write_sums(out.parent().unwrap_or(Path::new(".")), &[("image", facts.sha256)])
}
