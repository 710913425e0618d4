//! Is this host ready? Tools and versions, packages that hold them, disk and memory room.
