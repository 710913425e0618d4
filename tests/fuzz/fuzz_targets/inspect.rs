//! All that `bimg image inspect` does, and the text it shows.
#![no_main]

use std::sync::Arc;

use bimg::image::{Image, inspect};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let image = Image::new(Arc::new(bytes.to_vec())).expect("bytes in memory can be read");
    let Ok(found) = inspect::inspect(&image) else { return };
    let text = bimg::ui::image::text("x", &found);
    assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text:?}");
});
