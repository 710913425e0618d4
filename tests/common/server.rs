//! An HTTP server on loopback that hands out one file, or a few, well or badly.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How it answers.
#[derive(Clone, Copy, PartialEq)]
pub enum Manner {
    /// As it should, without ranges.
    Good,
    /// Half of the file, as if that were all.
    Truncated,
    /// Half of the file, then the line is cut; each time from the beginning.
    StopsMidway,
    /// Half of the file, then nothing, with the line held open.
    Silent,
}

/// Serves one file, whatever it is asked for, until the test ends; returns host and port.
pub fn start(body: Vec<u8>, manner: Manner) -> String {
    serve(move |_| Ok(body.clone()), manner)
}

/// Serves the files of a directory; of another it says that with `missing`, a status.
pub fn start_files(dir: PathBuf, missing: &'static str) -> String {
    serve(move |name| std::fs::read(dir.join(name)).map_err(|_| missing), Manner::Good)
}

type Found = Result<Vec<u8>, &'static str>;

fn serve(find: impl Fn(&str) -> Found + Send + Sync + 'static, manner: Manner) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let find = Arc::new(find);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let find = Arc::clone(&find);
            std::thread::spawn(move || answer(&stream.unwrap(), &*find, manner));
        }
    });
    host
}

fn answer(mut stream: &TcpStream, find: &dyn Fn(&str) -> Found, manner: Manner) {
    let mut head = BufReader::new(stream).lines().map_while(Result::ok);
    let first = head.next().unwrap_or_default();
    head.take_while(|line| !line.is_empty()).for_each(drop);
    let name = first.split(' ').nth(1).unwrap_or_default().trim_start_matches('/');
    let body = match find(name) {
        Ok(body) => body,
        Err(status) => {
            let _ = write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            return;
        }
    };
    let body = body.as_slice();
    let half = &body[..body.len() / 2];
    let (length, sent) = match manner {
        Manner::Good => (body.len(), body),
        Manner::Truncated => (half.len(), half),
        Manner::StopsMidway | Manner::Silent => (body.len(), half),
    };
    // A client may hang up on us.
    let _ = write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    let _ = stream.write_all(sent);
    if manner == Manner::Silent {
        std::thread::sleep(Duration::from_secs(60));
    }
}
