use super::*;

#[test]
fn bytes_are_counted_across_pieces_and_ends() {
    let mut one = vec![0u8; (2 * PIECE + 10) as usize];
    let two = vec![0u8; (2 * PIECE) as usize];
    one[5] = 1;
    one[PIECE as usize + 7] = 1;
    let len = one.len() as u64;
    let (a, b): (Source, Source) = (std::sync::Arc::new(one), std::sync::Arc::new(two));
    let found = compare(&a, &b, 0..len).unwrap().unwrap();
    assert_eq!(found.to_string(), "12 of 2097162 bytes, the first at 5");
    assert_eq!(compare(&a, &b, 6..100).unwrap(), None);
    assert_eq!(compare(&a, &b, len - 10..len).unwrap().unwrap().first, 2 * PIECE);
}

#[test]
fn a_time_in_a_header_is_told_from_other_changes() {
    let cause = |a: &[u8], b: &[u8]| cause::of(a, b, &Identifiers::default());
    let gzip = |time: u8, data: u8| [0x1F, 0x8B, 8, 0, time, 0, 0, 0, 0, 3, data];
    assert_eq!(cause(&gzip(1, 9), &gzip(2, 9)).as_deref(), Some("a time stamp in its gzip header"));
    assert_ne!(cause(&gzip(1, 9), &gzip(2, 8)).as_deref(), Some("a time stamp in its gzip header"));
    let kernel = |release: &str, rest: u8| {
        let mut file = vec![0; 60];
        file[56..60].copy_from_slice(b"ARM\x64");
        file.extend(format!("Linux version {release} (x)\n\0").bytes());
        file.push(rest);
        file
    };
    assert_eq!(
        cause(&kernel("6.12.1", 0), &kernel("6.12.2", 0)).as_deref(),
        Some("another kernel: 6.12.1 and 6.12.2")
    );
    assert_eq!(
        cause(&kernel("6.12.1", 0), &kernel("6.12.1", 1)).as_deref(),
        Some("another build of the same kernel release")
    );
    assert_eq!(cause(b"a", b"b"), None);
}
