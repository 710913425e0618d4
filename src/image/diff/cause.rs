//! Why two files differ, where that can be seen from their bytes: a time that is written into them, an
//! identifier of the image, another kernel.

use super::super::kernel;
use super::super::open::Image;

/// The cause of a value that names a disk, partition or filesystem.
pub const IDENTIFIER: &str = "an identifier";
/// The cause of a time.
pub const TIME: &str = "a time stamp";

/// The identifiers of two images, pair by pair, where they differ.
#[derive(Debug, Default)]
pub struct Identifiers(Vec<[String; 2]>);

impl Identifiers {
    /// Of two images.
    pub fn of(a: &Image, b: &Image) -> Self {
        let list = |image: &Image| {
            let mut list = vec![(u32::MAX, image.table.id.clone())];
            list.extend(image.table.partitions.iter().map(|part| (part.number, part.uuid.clone())));
            let contents =
                image.parts.iter().filter_map(|it| Some((it.number, it.content.as_ref()?.uuid.clone())));
            list.extend(contents);
            list
        };
        let (one, two) = (list(a), list(b));
        let same_place = one.into_iter().zip(two).filter(|(one, two)| one.0 == two.0 && one.1 != two.1);
        let mut pairs: Vec<[String; 2]> = same_place.map(|(one, two)| [one.1, two.1]).collect();
        pairs.retain(|pair| pair.iter().all(|id| !id.is_empty()));
        // A long one may hold a short one: `1a2b3c4d-01` before `1a2b3c4d`.
        pairs.sort_by_key(|pair| std::cmp::Reverse(pair[0].len()));
        Identifiers(pairs)
    }

    /// True when the texts are equal once the identifiers of the first are put in place.
    fn explain(&self, a: &[u8], b: &[u8]) -> bool {
        let (Ok(a), Ok(b)) = (std::str::from_utf8(a), std::str::from_utf8(b)) else { return false };
        !self.0.is_empty()
            && self.0.iter().fold(a.to_string(), |text, [one, two]| text.replace(one, two)) == b
    }
}

/// The cause, in a few words.
pub fn of(a: &[u8], b: &[u8], ids: &Identifiers) -> Option<String> {
    if ids.explain(a, b) {
        return Some(IDENTIFIER.to_string());
    }
    for (magic, name, range) in TIMES {
        if a.starts_with(magic) && b.starts_with(magic) && equal_but(a, b, range) {
            return Some(format!("{TIME} in its {name} header"));
        }
    }
    let (one, two) = (kernel::identify(a)?.release, kernel::identify(b)?.release);
    match (one, two) {
        (Some(one), Some(two)) if one != two => Some(format!("another kernel: {one} and {two}")),
        (Some(_), Some(_)) => Some("another build of the same kernel release".to_string()),
        _ => None,
    }
}

/// Formats that hold a time: magic number, name, and from where to where bytes change with the time.
const TIMES: [(&[u8], &str, [usize; 2]); 2] = [
    // RFC 1952: MTIME.
    (&[0x1F, 0x8B], "gzip", [4, 8]),
    // U-Boot include/image.h: the header's checksum and ih_time.
    (&[0x27, 0x05, 0x19, 0x56], "uImage", [4, 12]),
];

fn equal_but(a: &[u8], b: &[u8], [start, end]: [usize; 2]) -> bool {
    let is_free = |index: usize| (start..end).contains(&index);
    a.len() == b.len() && a.iter().zip(b).enumerate().all(|(index, (a, b))| a == b || is_free(index))
}
