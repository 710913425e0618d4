//! An HTTP server on loopback that hands out one file, well or badly.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
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

/// Serves until the test ends; returns host and port.
pub fn start(body: Vec<u8>, manner: Manner) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let body = body.clone();
            std::thread::spawn(move || answer(&stream.unwrap(), &body, manner));
        }
    });
    host
}

fn answer(mut stream: &TcpStream, body: &[u8], manner: Manner) {
    let head = BufReader::new(stream).lines().map_while(Result::ok);
    head.take_while(|line| !line.is_empty()).for_each(drop);
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
