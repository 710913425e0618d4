//! Filesystem writers: a [`crate::tree::Tree`] in, bytes at offsets out; one file each behind one trait.
