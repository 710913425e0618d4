//! Which options genimage knows where: of version 16, which Debian 12 has, and what came after it.
//!
//! Sections that say nothing about a disk's layout (`ubi`, `rauc`, ...) are open: anything may stand in
//! them.

/// What an option holds.
#[derive(Debug, Clone, Copy)]
pub enum Shape {
    /// `name = word`.
    Text,
    /// `name = { word, word }`.
    List,
    /// `name { ... }`.
    Section(&'static Schema),
    /// `name title { ... }`.
    Titled(&'static Schema),
    /// `include("file")`.
    Include,
}

/// The options of a section.
#[derive(Debug)]
pub struct Schema {
    /// Name and shape.
    pub options: &'static [(&'static str, Shape)],
    /// True when any other option is fine as well.
    pub open: bool,
}

impl Schema {
    /// The shape of an option; `None` for one that is not known.
    pub fn shape(&self, name: &str) -> Option<Shape> {
        self.options.iter().find(|(known, _)| *known == name).map(|(_, shape)| *shape)
    }
}

use Shape::{Include, List, Section, Text, Titled};

/// A section that is not looked into.
pub static OPEN: Schema = Schema { options: &[], open: true };

/// The whole file.
pub static TOP: Schema = Schema {
    options: &[
        ("image", Titled(&IMAGE)),
        ("flash", Titled(&OPEN)),
        ("config", Section(&OPEN)),
        ("include", Include),
    ],
    open: false,
};

static IMAGE: Schema = Schema {
    options: &[
        ("name", Text),
        ("size", Text),
        ("mountpoint", Text),
        ("srcpath", Text),
        ("empty", Text),
        ("temporary", Text),
        ("exec-pre", Text),
        ("exec-post", Text),
        ("flashtype", Text),
        ("partition", Titled(&PARTITION)),
        ("include", Include),
        // The kinds of images.
        ("hdimage", Section(&HDIMAGE)),
        ("vfat", Section(&VFAT)),
        ("ext2", Section(&EXT)),
        ("ext3", Section(&EXT)),
        ("ext4", Section(&EXT)),
        ("file", Section(&FILE)),
        ("squashfs", Section(&OPEN)),
        ("erofs", Section(&OPEN)),
        ("btrfs", Section(&OPEN)),
        ("f2fs", Section(&OPEN)),
        ("android-sparse", Section(&OPEN)),
        ("cpio", Section(&OPEN)),
        ("cramfs", Section(&OPEN)),
        ("custom", Section(&OPEN)),
        ("fip", Section(&OPEN)),
        ("fit", Section(&OPEN)),
        ("FIT", Section(&OPEN)),
        ("flash", Section(&OPEN)),
        ("iso", Section(&OPEN)),
        ("jffs2", Section(&OPEN)),
        ("mdraid", Section(&OPEN)),
        ("qemu", Section(&OPEN)),
        ("rauc", Section(&OPEN)),
        ("tar", Section(&OPEN)),
        ("ubi", Section(&OPEN)),
        ("ubifs", Section(&OPEN)),
        ("verity", Section(&OPEN)),
        ("verity-sig", Section(&OPEN)),
    ],
    open: false,
};

/// Options of an image that are no kind of image.
pub const COMMON: usize = 11;

static PARTITION: Schema = Schema {
    options: &[
        ("offset", Text),
        ("size", Text),
        ("align", Text),
        ("partition-type", Text),
        ("image", Text),
        ("fill", Text),
        ("autoresize", Text),
        ("bootable", Text),
        ("read-only", Text),
        ("hidden", Text),
        ("no-automount", Text),
        ("in-partition-table", Text),
        ("forced-primary", Text),
        ("partition-uuid", Text),
        ("partition-type-uuid", Text),
        ("holes", List),
    ],
    open: false,
};

static HDIMAGE: Schema = Schema {
    options: &[
        ("align", Text),
        ("partition-table", Text),
        ("partition-table-type", Text),
        ("extended-partition", Text),
        ("disk-signature", Text),
        ("disk-uuid", Text),
        ("gpt", Text),
        ("gpt-location", Text),
        ("gpt-no-backup", Text),
        ("fill", Text),
    ],
    open: false,
};

static VFAT: Schema = Schema {
    options: &[
        ("extraargs", Text),
        ("label", Text),
        ("files", List),
        ("file", Titled(&FILE_IN)),
        ("minimize", Text),
    ],
    open: false,
};

static FILE_IN: Schema = Schema { options: &[("image", Text)], open: false };

static EXT: Schema = Schema {
    options: &[
        ("extraargs", Text),
        ("features", Text),
        ("label", Text),
        ("fs-timestamp", Text),
        ("root-owner", Text),
        ("usage-type", Text),
        ("use-mke2fs", Text),
        ("mke2fs-conf", Text),
        ("mke2fs_conf", Text),
    ],
    open: false,
};

static FILE: Schema = Schema { options: &[("name", Text), ("copy", Text), ("holes", List)], open: false };

/// The kinds of images that genimage knows.
pub fn kinds() -> impl Iterator<Item = &'static str> {
    IMAGE.options[COMMON..].iter().map(|(name, _)| *name)
}
