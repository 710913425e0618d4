//! Every compression, whole, joined, cut and damaged.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use super::{Format, Input, Origin, spool};
use crate::digest::Digest;
use crate::exec::Cmd;
use crate::fsx;
use crate::progress::Silent;
use crate::units::ByteSize;

/// Half noise, half zeros.
fn image() -> Vec<u8> {
    let mut state = 1_u32;
    let mut noise = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    let mut image: Vec<u8> = (0..300_000).map(|_| noise()).collect();
    image.resize(700_000, 0);
    image
}

struct Bench(tempfile::TempDir);

impl Bench {
    fn new() -> Self {
        Bench(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn put(&self, bytes: &[u8]) -> Origin {
        // The name says nothing: the bytes do.
        fsx::write_atomic(&self.path("x"), bytes).unwrap();
        Origin::File(self.path("x"))
    }

    /// Reads it all, in odd steps.
    fn read(&self, bytes: &[u8]) -> Result<(Format, Vec<u8>), String> {
        let told = |error: crate::error::Error| {
            error.to_string().replace(&format!("{}/", self.0.path().display()), "")
        };
        let mut input = Input::open(&self.put(bytes)).map_err(told)?;
        // Looking ahead takes nothing away.
        input.check_image().map_err(told)?;
        let mut all = Vec::new();
        let mut part = vec![0; 70_001];
        loop {
            let n = input.read(&mut part).map_err(told)?;
            all.extend_from_slice(&part[..n]);
            if n < part.len() {
                let format = input.format();
                assert_eq!(input.finish().map_err(told)?, (all.len() as u64, None));
                return Ok((format, all));
            }
        }
    }

    fn tool(&self, program: &str, args: &[&str], bytes: &[u8]) -> Vec<u8> {
        fsx::write_atomic(&self.path("plain"), bytes).unwrap();
        Cmd::new(program).args(args).args(["-c", "plain"]).cwd(self.0.path()).check().unwrap().stdout
    }

    /// Whole, by the tools that everybody has.
    fn packed(&self, format: Format, bytes: &[u8]) -> Vec<u8> {
        match format {
            Format::Raw => bytes.to_vec(),
            Format::Xz => self.tool("xz", &["-1", "--block-size=100000", "-T1"], bytes),
            Format::Zstd => self.tool("zstd", &["-q", "--no-check"], bytes),
            Format::Gz => self.tool("gzip", &[], bytes),
            Format::Bz2 => self.tool("bzip2", &["-1"], bytes),
        }
    }
}

const PACKED: [Format; 4] = [Format::Xz, Format::Zstd, Format::Gz, Format::Bz2];

#[test]
fn every_compression_is_told_by_its_magic() {
    let bench = Bench::new();
    let image = image();
    for format in PACKED.into_iter().chain([Format::Raw]) {
        assert_eq!(bench.read(&bench.packed(format, &image)), Ok((format, image.clone())), "{format:?}");
    }
    assert_eq!(bench.read(b""), Ok((Format::Raw, Vec::new())));
    assert_eq!(bench.read(b"\x1f"), Ok((Format::Raw, b"\x1f".to_vec())));
}

#[test]
fn all_streams_members_and_frames_are_read() {
    let bench = Bench::new();
    let image = image();
    for format in PACKED {
        let (first, second) = image.split_at(123_456);
        let mut joined = bench.packed(format, first);
        if format == Format::Xz {
            // Stream padding.
            joined.extend([0; 8]);
        }
        joined.extend(bench.packed(format, second));
        assert_eq!(bench.read(&joined), Ok((format, image.clone())), "{format:?}");
    }
    // pzstd begins with a skippable frame.
    let mut skippable = b"\x50\x2a\x4d\x18\x04\x00\x00\x00abcd".to_vec();
    skippable.extend(bench.packed(Format::Zstd, &image));
    assert_eq!(bench.read(&skippable), Ok((Format::Zstd, image)));
}

#[test]
fn what_follows_gzip_data_is_passed_over() {
    let bench = Bench::new();
    let image = image();
    let packed = bench.packed(Format::Gz, &image);
    for behind in [&[0; 512][..], b"FWx0 metadata", b"\n"] {
        let bytes = [&packed, behind].concat();
        assert_eq!(bench.read(&bytes), Ok((Format::Gz, image.clone())));
    }
    // What begins as a member must be one.
    for behind in [&[0x1f][..], &[0x1f, 0x8b, 8, 0, 0], b"\x1fx0 metadata, long enough"] {
        assert!(bench.read(&[&packed, behind].concat()).is_err(), "{behind:?}");
    }
}

#[test]
fn a_cut_file_is_truncated_wherever_it_is_cut() {
    let bench = Bench::new();
    for format in PACKED {
        let packed = bench.packed(format, &image());
        let name = format.name();
        for cut in [7, 20, 1000, packed.len() / 2, packed.len() - 5, packed.len() - 1] {
            let told = bench.read(&packed[..cut]).unwrap_err();
            assert!(
                told.starts_with(&format!(
                    "cannot read `x`\n  caused by: the {name} data ends too early: it is truncated"
                )),
                "{format:?} cut at {cut}: {told}"
            );
        }
    }
    let packed = bench.packed(Format::Xz, &image());
    assert_eq!(
        bench.read(&packed[..packed.len() - 1]).unwrap_err(),
        "cannot read `x`\n  caused by: the xz data ends too early: it is truncated\n  \
         caused by: the first 700000 bytes of the image were read well\n\n\
         hint: fetch it again, and compare its SHA-256 with the one that its maker gives"
    );
}

#[test]
fn a_damaged_file_is_corrupt() {
    let bench = Bench::new();
    for format in PACKED {
        let packed = match format {
            // With its checksum, as by default.
            Format::Zstd => bench.tool("zstd", &["-q"], &image()),
            _ => bench.packed(format, &image()),
        };
        for at in [packed.len() / 3, packed.len() / 2] {
            let mut damaged = packed.clone();
            damaged[at] ^= 0x55;
            let told = bench.read(&damaged).unwrap_err();
            let expected = format!("cannot read `x`\n  caused by: the {} data is corrupt", format.name());
            assert!(told.starts_with(&expected), "{format:?} at {at}: {told}");
        }
        if format != Format::Gz {
            let mut trailing = packed.clone();
            trailing.extend(b"garbage behind the end");
            assert!(bench.read(&trailing).is_err(), "{format:?}");
        }
    }
    // As short as it may be, it is not a stream cut off.
    for behind in [&b"garbage!"[..], b"\0\0\0\0g"] {
        let bytes = [&bench.packed(Format::Xz, &image()), behind].concat();
        assert_eq!(
            bench.read(&bytes).unwrap_err(),
            "cannot read `x`\n  caused by: behind the xz data is something else\n  \
             caused by: the first 700000 bytes of the image were read well\n\n\
             hint: fetch it again, and compare its SHA-256 with the one that its maker gives"
        );
    }
    let mut odd = bench.packed(Format::Xz, &image());
    odd.extend([0; 3]);
    assert!(bench.read(&odd).unwrap_err().contains("the xz data is corrupt"));
}

#[test]
fn what_takes_too_much_memory_is_refused() {
    let bench = Bench::new();
    let xz = bench.tool("xz", &["--lzma2=dict=256MiB"], &image());
    assert!(
        bench.read(&xz).unwrap_err().starts_with(
            "cannot read `x`\n  caused by: the xz data asks for a dictionary of more than 128 MiB"
        )
    );
    // A Zstandard frame header that asks for 2 GiB (RFC 8878 section 3.1.1.1).
    let zstd = b"\x28\xb5\x2f\xfd\x00\xa8\x01\x00\x00";
    assert!(
        bench.read(zstd).unwrap_err().starts_with(
            "cannot read `x`\n  caused by: the zstd data asks for a window of more than 128 MiB"
        ),
        "{}",
        bench.read(zstd).unwrap_err()
    );
    // What presets make is taken.
    for args in [["-9", "-T1"], ["-9e", "-T2"]] {
        let xz = bench.tool("xz", &args, &image());
        assert_eq!(bench.read(&xz), Ok((Format::Xz, image())));
    }
    let zstd = bench.tool("zstd", &["-q", "--long=27"], &image());
    assert_eq!(bench.read(&zstd), Ok((Format::Zstd, image())));
}

#[test]
fn sizes_are_known_where_the_file_tells() {
    let bench = Bench::new();
    let image = image();
    let size = |format| Input::open(&bench.put(&bench.packed(format, &image))).unwrap().size();
    assert_eq!(size(Format::Raw), Some(700_000));
    assert_eq!(size(Format::Zstd), Some(700_000));
    assert_eq!(size(Format::Gz), None);
    // Half of the image in each of two streams is not the size of the image.
    let joined = |format| {
        let (first, second) = image.split_at(100_000);
        [bench.packed(format, first), bench.packed(format, second)].concat()
    };
    assert_eq!(Input::open(&bench.put(&joined(Format::Xz))).unwrap().size(), None);
    assert_eq!(Input::open(&bench.put(&joined(Format::Gz))).unwrap().size(), None);
    assert_eq!(Input::open(&bench.put(&joined(Format::Zstd))).unwrap().size(), Some(700_000));
}

#[test]
fn the_size_of_zstd_data_is_that_of_all_its_frames() {
    let bench = Bench::new();
    let image = image();
    let size = |bytes: &[u8]| Input::open(&bench.put(bytes)).unwrap().size();
    let skippable = b"\x5f\x2a\x4d\x18\x04\x00\x00\x00abcd";
    let checked = |bytes: &[u8]| bench.tool("zstd", &["-q", "--check"], bytes);
    // Sizes in 1, 2, 4 and 8 bytes, with and without a window of its own; zeros are blocks of one byte.
    for len in [0, 1, 255, 256, 65_791, 65_792, 300_000, 700_000] {
        let frame = checked(&image[..len]);
        assert_eq!(size(&frame), Some(len as u64));
        let long = bench.tool("zstd", &["-q", "--no-check", "--long=20"], &image[..len]);
        assert_eq!(
            size(&[skippable, &frame[..], skippable, &long, skippable].concat()),
            Some(2 * len as u64)
        );
    }
    let frame = checked(&image);
    let streamed = bench.tool("zstd", &["-q", "--no-content-size"], &image);
    assert_eq!(size(&streamed), None);
    assert_eq!(size(&[&frame[..], &streamed].concat()), None);
    // Cut off, or with something behind it.
    for cut in [5, 10, 1000, frame.len() - 5, frame.len() - 4, frame.len() - 1] {
        assert_eq!(size(&frame[..cut]), None, "{cut}");
        assert_eq!(size(&[&frame[..], &frame[..cut]].concat()), None, "{cut}");
    }
    assert_eq!(size(&[&frame[..], b"garbage"].concat()), None);
    assert_eq!(size(&[&frame[..], &skippable[..11]].concat()), None);
    // Hashing reads the same file.
    let mut input = Input::open_hashed(&bench.put(&frame)).unwrap();
    assert_eq!(input.size(), Some(700_000));
    assert_eq!(input.skip(1 << 20).unwrap(), 700_000);
    assert_eq!(input.finish().unwrap().1, Some(Digest::of(&frame)));
}

#[test]
fn skipping_is_like_reading() {
    let bench = Bench::new();
    let image = image();
    for format in PACKED.into_iter().chain([Format::Raw]) {
        let mut input = Input::open(&bench.put(&bench.packed(format, &image))).unwrap();
        assert_eq!(input.skip(200_001).unwrap(), 200_001);
        let mut part = [0; 1000];
        assert_eq!(input.read(&mut part).unwrap(), 1000);
        assert_eq!(part[..], image[200_001..201_001]);
        assert_eq!(input.position(), 201_001);
        assert_eq!(input.skip(1 << 40).unwrap(), 700_000 - 201_001);
        assert_eq!(input.skip(1).unwrap(), 0);
    }
}

#[test]
fn the_stored_file_is_hashed_on_the_way() {
    let bench = Bench::new();
    for format in PACKED.into_iter().chain([Format::Raw]) {
        let packed = bench.packed(format, &image());
        let mut input = Input::open_hashed(&bench.put(&packed)).unwrap();
        input.skip(10).unwrap();
        assert_eq!(input.finish().unwrap(), (700_000, Some(Digest::of(&packed))), "{format:?}");
    }
}

#[test]
fn what_is_no_image_is_refused() {
    let bench = Bench::new();
    let told = |path: &str| {
        let error = Input::open(&Origin::File(bench.path(path))).err().unwrap();
        error.to_string().replace(&bench.0.path().display().to_string(), "DIR")
    };
    assert_eq!(told(""), "cannot read `DIR/`\n  caused by: it is a directory");
    assert_eq!(told("none.img"), "cannot open `DIR/none.img`\n  caused by: No such file or directory");
}

#[test]
fn a_pipe_is_read_like_a_file() {
    let bench = Bench::new();
    let image = image();
    let fifo = bench.path("fifo");
    Cmd::new("mkfifo").arg(&fifo).check().unwrap();
    let packed = bench.packed(Format::Zstd, &image);
    let writer = {
        let fifo = fifo.clone();
        std::thread::spawn(move || std::fs::write(fifo, packed).unwrap())
    };
    let origin = Origin::File(fifo);
    assert!(!origin.repeatable());
    let mut input = Input::open(&origin).unwrap();
    let mut all = vec![0; 800_000];
    assert_eq!(input.read(&mut all).unwrap(), 700_000);
    assert!(all[..700_000] == image);
    writer.join().unwrap();
}

#[test]
fn spooled_images_have_random_access_and_no_name() {
    use std::os::unix::fs::{FileExt, MetadataExt};
    let bench = Bench::new();
    let mut image = image();
    image.resize(40 << 20, 0);
    let spooled = bench.path("spool");
    for format in PACKED.into_iter().chain([Format::Raw]) {
        let origin = bench.put(&bench.packed(format, &image));
        let found = spool(&origin, &spooled, ByteSize::mib(64), &Silent).unwrap();
        assert_eq!((found.size, found.format), (image.len() as u64, format));
        let mut all = vec![1; image.len()];
        found.file.read_exact_at(&mut all, 0).unwrap();
        assert!(all == image, "{format:?}");
        if format != Format::Raw {
            // Zeros stay holes.
            assert!(found.file.metadata().unwrap().blocks() * 512 < 1 << 20);
            assert_eq!(fsx::names(&spooled).unwrap(), Vec::<String>::new());
        }
    }
}

#[test]
fn bombs_are_refused() {
    let bench = Bench::new();
    let told = |bytes: &[u8], limit| {
        let error = spool(&bench.put(bytes), &bench.path("spool"), limit, &Silent).unwrap_err();
        error.to_string().replace(&format!("{}/", bench.0.path().display()), "")
    };
    let zeros = bench.packed(Format::Zstd, &vec![0; 3 << 20]);
    assert_eq!(
        told(&zeros, ByteSize::mib(2)),
        "cannot unpack `x`\n  caused by: it unpacks to more than 2 MiB\n\n\
         hint: no image of a disk is like that; if this one is meant, unpack it by hand"
    );
    let bomb = bench.packed(Format::Zstd, &vec![b'x'; 80 << 20]);
    let text = told(&bomb, ByteSize::mib(1 << 20));
    assert!(text.starts_with("cannot unpack `x`\n  caused by: "), "{text}");
    assert!(text.contains(" KiB of it unpack to 6"), "{text}");
}

/// Serves `body`; the first answer ends after `first` bytes. Gives the address and the ranges asked for.
fn serve(
    body: Vec<u8>,
    first: usize,
    ranges: bool,
    tag: fn(usize) -> &'static str,
) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&asked);
    std::thread::spawn(move || {
        for (n, stream) in listener.incoming().enumerate() {
            let mut stream: TcpStream = stream.unwrap();
            let head: Vec<String> = BufReader::new(&stream)
                .lines()
                .map(Result::unwrap)
                .take_while(|line| !line.is_empty())
                .collect();
            let range = head
                .iter()
                .find_map(|line| line.to_lowercase().strip_prefix("range: bytes=").map(str::to_string));
            log.lock().unwrap().push(range.clone().unwrap_or_default());
            if head[0].contains("/none") {
                stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n").unwrap();
                continue;
            }
            let start =
                range.filter(|_| ranges).map_or(0, |range| range.trim_end_matches('-').parse().unwrap());
            let status = if start > 0 { "206 Partial Content" } else { "200 OK" };
            let end = if n == 0 { first.min(body.len()) } else { body.len() };
            let length = body.len() - start;
            let head = format!(
                "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nETag: \"{}\"\r\n\
                 Content-Range: bytes {start}-{}/{}\r\nConnection: close\r\n\r\n",
                tag(n),
                body.len() - 1,
                body.len()
            );
            let _ = stream
                .write_all(head.as_bytes())
                .and_then(|()| stream.write_all(&body[start..end.max(start)]));
        }
    });
    (format!("http://{host}"), asked)
}

fn download(origin: &Origin) -> Result<Vec<u8>, String> {
    let mut input = Input::open(origin).map_err(|error| error.to_string())?;
    let mut all = vec![0; 1 << 20];
    let n = input.read(&mut all).map_err(|error| error.to_string())?;
    all.truncate(n);
    Ok(all)
}

#[test]
fn a_url_is_read_on_where_the_line_broke() {
    let bench = Bench::new();
    let image = image();
    let packed = bench.packed(Format::Gz, &image);
    for ranges in [true, false] {
        let (host, asked) = serve(packed.clone(), 100_000, ranges, |_| "e1");
        let origin = Origin::new(&format!("{host}/x.img.gz"));
        assert!(download(&origin).unwrap() == image);
        assert_eq!(*asked.lock().unwrap(), ["", "100000-"]);
    }
}

#[test]
fn a_file_that_changes_on_the_server_is_not_joined_with_the_old_one() {
    let (host, _) = serve(image(), 100_000, true, |n| if n == 0 { "e1" } else { "e2" });
    let origin = Origin::new(&format!("{host}/x.img"));
    assert_eq!(
        download(&origin).unwrap_err().replace(&host, "HOST"),
        "cannot read `HOST/x.img`\n  caused by: cannot download `HOST/x.img`\n  \
         caused by: the file on the server changed meanwhile"
    );
}

#[test]
fn files_beside_an_image_are_found_or_not() {
    let bench = Bench::new();
    let origin = bench.put(b"image");
    fsx::write_atomic(&bench.path("x.bmap"), b"map").unwrap();
    assert_eq!(origin.beside(".bmap").unwrap().fetch(3).unwrap(), Some(b"map".to_vec()));
    assert_eq!(origin.beside(".sig").unwrap().fetch(3).unwrap(), None);
    assert_eq!(origin.sibling("x.bmap").unwrap().fetch(3).unwrap(), Some(b"map".to_vec()));
    let error = origin.beside(".bmap").unwrap().fetch(2).unwrap_err().to_string();
    assert!(error.ends_with("/x.bmap`\n  caused by: it is larger than 2 bytes"), "{error}");

    let (host, _) = serve(b"map".to_vec(), 3, true, |_| "e1");
    let origin = Origin::new(&format!("{host}/d/x.img?token=1"));
    assert_eq!(origin.beside(".bmap").unwrap().to_string(), format!("{host}/d/x.img.bmap?token=1"));
    assert_eq!(origin.sibling("SHA256SUMS").unwrap().to_string(), format!("{host}/d/SHA256SUMS?token=1"));
    assert_eq!(origin.file_name(), Some("x.img"));
    assert_eq!(origin.beside(".bmap").unwrap().fetch(3).unwrap(), Some(b"map".to_vec()));
    assert_eq!(origin.sibling("none").unwrap().fetch(3).unwrap(), None);
    let error = origin.fetch(2).unwrap_err().to_string().replace(&host, "HOST");
    assert_eq!(error, "cannot download `HOST/d/x.img?token=1`\n  caused by: it is larger than 2 bytes");
    let gone = Input::open(&Origin::new(&format!("{host}/none"))).err().unwrap();
    assert_eq!(
        gone.to_string().replace(&host, "HOST"),
        "cannot download `HOST/none`\n  caused by: the server answered 404 Not Found"
    );
    assert_eq!(Origin::new("-"), Origin::Stdin);
    assert_eq!(Origin::Stdin.beside(".bmap"), None);
}
