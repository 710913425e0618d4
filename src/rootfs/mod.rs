//! Root filesystem layers: Debian packages, tar, directory, overlays, modules, provisioning.
