//! Tarballs from a server that does everything a bad line or a bad mirror may do.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::super::{Mode, Source};
use super::{Bench, source, tar_of};
use crate::digest::Digest;
use crate::fsx;

/// How the server answers; the number is that of the request, from 0.
#[derive(Clone, Copy, PartialEq)]
enum Manner {
    /// As it should, with ranges.
    Good,
    /// As if there were no ranges.
    NoRanges,
    NotFound,
    /// Status 500 at first.
    ErrorThenGood,
    /// Half of it at first, the rest when asked.
    StopsOnce,
    /// Half of it, each time from the beginning.
    StopsAlways,
    /// Half of it, then nothing, the connection held open.
    Silent,
}

struct Server {
    host: String,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn start(body: Vec<u8>, manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&requests);
        std::thread::spawn(move || {
            for (n, stream) in listener.incoming().enumerate() {
                let (body, log) = (body.clone(), Arc::clone(&log));
                std::thread::spawn(move || answer(n, &stream.unwrap(), &body, manner, &log));
            }
        });
        Server { host, requests }
    }

    fn source(&self, sha256: Digest) -> Source {
        source(&format!(r#"{{ tarball = "http://{}/linux.tar", sha256 = "{sha256}" }}"#, self.host))
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

fn answer(n: usize, mut stream: &TcpStream, body: &[u8], manner: Manner, log: &Mutex<Vec<String>>) {
    let mut lines = BufReader::new(stream).lines();
    let head: Vec<String> = lines.by_ref().map(Result::unwrap).take_while(|line| !line.is_empty()).collect();
    let header = |name: &str| {
        head.iter().find_map(|line| {
            let (key, value) = line.split_once(": ")?;
            key.eq_ignore_ascii_case(name).then(|| value.to_string())
        })
    };
    let range = header("range");
    let told = format!("{} {}", range.clone().unwrap_or_default(), header("if-range").unwrap_or_default());
    log.lock().unwrap().push(told.trim().to_string());
    let start: usize = range
        .filter(|_| manner != Manner::NoRanges && manner != Manner::StopsAlways)
        .map_or(0, |range| range["bytes=".len()..].trim_end_matches('-').parse().unwrap());
    let (status, end) = match manner {
        Manner::NotFound => ("404 Not Found", 0),
        Manner::ErrorThenGood if n == 0 => ("500 Internal Server Error", 0),
        _ if start > 0 && start >= body.len() => ("416 Range Not Satisfiable", start),
        Manner::StopsOnce if n == 0 => ("200 OK", body.len() / 2),
        Manner::StopsAlways | Manner::Silent => ("200 OK", body.len() / 2),
        _ if start > 0 => ("206 Partial Content", body.len()),
        _ => ("200 OK", body.len()),
    };
    let length = if end == 0 || start >= body.len() { 0 } else { body.len() - start };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nETag: \"e1\"\r\n\
         Content-Range: bytes {start}-{}/{}\r\nConnection: close\r\n\r\n",
        body.len() - 1,
        body.len()
    );
    // A client may hang up on us, as in the tests of failures.
    let _ = stream.write_all(head.as_bytes());
    if length > 0 {
        let _ = stream.write_all(&body[start..end.max(start)]);
    }
    if manner == Manner::Silent {
        // Until the client has had enough.
        let _ = stream.read(&mut [0]);
    }
}

fn tarball() -> (Vec<u8>, Digest) {
    let body = tar_of(&[("linux/Makefile", "all:\n"), ("linux/big", &"x".repeat(300_000))]);
    let digest = Digest::of(&body);
    (body, digest)
}

/// Fetches and gives the requests that it took.
fn fetches(bench: &Bench, manner: Manner, already_there: &[u8]) -> Vec<String> {
    let (body, digest) = tarball();
    let server = Server::start(body, manner);
    if !already_there.is_empty() {
        let partial = fsx::partial_name(&bench.store.download(&digest));
        fsx::write_atomic(&partial, already_there).unwrap();
    }
    let fetched = bench.fetch(&[server.source(digest)], Mode::Normal).unwrap();
    assert_eq!(fsx::read_to_string(&fetched.dir.join("Makefile")).unwrap(), "all:\n");
    assert_eq!((fetched.epoch, fetched.locked.pin.sha256), (1_700_000_000, Some(digest)));
    assert!(!fsx::partial_name(&bench.store.download(&digest)).exists());
    server.requests()
}

fn fails(bench: &Bench, manner: Manner) -> String {
    let (body, digest) = tarball();
    let server = Server::start(body, manner);
    bench.failure(&[server.source(digest)], Mode::Normal).replace(&server.host, "HOST")
}

#[test]
fn a_good_server_is_asked_once_and_then_never_again() {
    let bench = Bench::new();
    assert_eq!(fetches(&bench, Manner::Good, b""), [""]);
    assert!(bench.heard.counts.lock().unwrap().iter().any(|(done, total)| Some(*done) == *total));
    // The server of the first fetch is not known to this one: the digest is.
    let (_, digest) = tarball();
    let elsewhere = source(&format!(r#"{{ tarball = "http://127.0.0.1:1/x", sha256 = "{digest}" }}"#));
    bench.fetch(&[elsewhere], Mode::Offline).unwrap();
}

#[test]
fn a_download_that_was_damaged_since_is_fetched_again() {
    let bench = Bench::new();
    let (body, digest) = tarball();
    let server = Server::start(body, Manner::Good);
    let from = [server.source(digest)];
    bench.fetch(&from, Mode::Normal).unwrap();
    std::fs::write(bench.store.download(&digest), "damaged").unwrap();
    fsx::remove_dir_all(&bench.store.root().join("trees")).unwrap();
    bench.fetch(&from, Mode::Normal).unwrap();
    assert_eq!(server.requests().len(), 2);
    let warning = bench.heard.lines.lock().unwrap()[0].replace(&server.host, "HOST");
    assert_eq!(
        warning,
        "tarball `http://HOST/linux.tar` in the store was changed or damaged; it is fetched again"
    );
}

#[test]
fn passing_failures_are_tried_again() {
    let bench = Bench::new();
    assert_eq!(fetches(&bench, Manner::ErrorThenGood, b"").len(), 2);
    let notes = bench.heard.lines.lock().unwrap().clone();
    assert!(notes[0].ends_with("linux.tar`: the server answered 500 Internal Server Error; trying again"));
}

#[test]
fn a_broken_download_goes_on_where_it_stopped() {
    let (body, _) = tarball();
    let half = body.len() / 2;
    assert_eq!(
        fetches(&Bench::new(), Manner::StopsOnce, b""),
        [String::new(), format!("bytes={half}- \"e1\"")]
    );
    // From an earlier run, and with a server that knows no ranges.
    assert_eq!(fetches(&Bench::new(), Manner::Good, &body[..1000]), ["bytes=1000-"]);
    assert_eq!(fetches(&Bench::new(), Manner::NoRanges, &body[..1000]), ["bytes=1000-"]);
    // The beginning of another file, or too much of one.
    assert_eq!(fetches(&Bench::new(), Manner::Good, &[7; 1000]), ["bytes=1000-", ""]);
    let long = vec![7; body.len() + 5];
    assert_eq!(
        fetches(&Bench::new(), Manner::Good, &long),
        [format!("bytes={}-", long.len()), String::new()]
    );
}

#[test]
fn failures_are_exact() {
    let (body, _) = tarball();
    let (half, all) = (body.len() / 2, body.len());
    assert_eq!(
        fails(&Bench::new(), Manner::NotFound),
        "cannot fetch source `kernel`\n  caused by: cannot download `http://HOST/linux.tar`\n  \
         caused by: the server answered 404 Not Found"
    );
    // What a server sends at once must get here before it counts as silent.
    let impatient = Bench::with_silence(Duration::from_secs(2));
    for (bench, manner) in [(Bench::new(), Manner::StopsAlways), (impatient, Manner::Silent)] {
        assert_eq!(
            fails(&bench, manner),
            format!(
                "cannot fetch source `kernel`\n  caused by: cannot download `http://HOST/linux.tar`\n  \
                 caused by: the connection ended after {half} of {all} bytes, 3 attempts in a row\n\n\
                 hint: run it again to go on from there"
            )
        );
    }
    let bench = Bench::new();
    let nobody = source(&format!(r#"{{ tarball = "http://127.0.0.1:1/x", sha256 = "{}" }}"#, "a".repeat(64)));
    assert_eq!(
        bench.failure(std::slice::from_ref(&nobody), Mode::Normal),
        "cannot fetch source `kernel`\n  caused by: cannot download `http://127.0.0.1:1/x`\n  \
         caused by: Connection refused, 3 attempts in a row"
    );
    assert_eq!(
        bench.failure(&[nobody], Mode::Offline),
        "cannot fetch source `kernel`\n  caused by: tarball `http://127.0.0.1:1/x` is not in the store\n  \
         caused by: `--offline` uses only what was fetched before\n\n\
         hint: run once without `--offline`"
    );
}

#[test]
fn the_wrong_file_is_refused_and_forgotten() {
    let bench = Bench::new();
    let server = Server::start(b"something else".to_vec(), Manner::Good);
    let expected = Digest::of(b"what was asked for");
    assert_eq!(
        bench.failure(&[server.source(expected)], Mode::Normal).replace(&server.host, "HOST"),
        format!(
            "cannot fetch source `kernel`\n  \
             caused by: `http://HOST/linux.tar` is not the file that was asked for\n  \
             caused by: its sha256 is {}\n  caused by: expected         {expected}\n\n\
             hint: if the change is meant, put the new sha256 in the profile",
            Digest::of(b"something else")
        )
    );
    assert!(!bench.store.download(&expected).exists());
    let partial = fsx::partial_name(&bench.store.download(&expected));
    assert_eq!(partial.metadata().unwrap().len(), 0);
}

#[test]
fn mirrors_are_tried_in_order() {
    let bench = Bench::new();
    let (body, digest) = tarball();
    let (bad, good) = (Server::start(body.clone(), Manner::NotFound), Server::start(body, Manner::Good));
    let source = source(&format!(
        r#"{{ tarball = "http://{}/x.tar", sha256 = "{digest}", mirrors = ["http://{}/y.tar"] }}"#,
        bad.host, good.host
    ));
    bench.fetch(&[source], Mode::Normal).unwrap();
    assert_eq!((bad.requests().len(), good.requests().len()), (1, 1));
}

#[test]
fn what_is_no_archive_is_named() {
    let bench = Bench::new();
    let page = b"<html>".repeat(100);
    let server = Server::start(page.clone(), Manner::Good);
    let text = bench.failure(&[server.source(Digest::of(&page))], Mode::Normal);
    assert!(
        text.replace(&server.host, "HOST").starts_with(
            "cannot fetch source `kernel`\n  caused by: cannot unpack `http://HOST/linux.tar`\n  \
             caused by: the archive is damaged or not a tar archive\n"
        ),
        "{text}"
    );
}
