//! Boots the finished image in QEMU: interactively (`bimg run`) and as a test (`bimg test`).
