//! The plan: ordered stages, layout, tools needed, fingerprints. No I/O beyond the facts handed to it.
