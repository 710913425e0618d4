//! Where inputs come from: apt packages, tarballs, git, paths; a content-addressed store; a lock file.
