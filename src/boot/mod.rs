//! Boot chains: which files make a board load its kernel; one file each behind one trait.
