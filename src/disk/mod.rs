//! The disk image: layout, partition tables, the sparse file, its block map, compression.
