//! The network between bimg and a board: loopback, and whatever may happen to a cable.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// What becomes of the bytes that go to the board.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// All arrive.
    None,
    /// After so many more, everything that is connected is cut.
    Cut(u64),
    /// After so many more nothing moves, with the connections held.
    Stall(u64),
}

/// Counts, cuts, stalls.
pub struct Wire {
    sent: AtomicU64,
    fault: Mutex<Fault>,
    ends: Mutex<Vec<TcpStream>>,
    /// Connections so far, and how many of them were pulled.
    begun: AtomicUsize,
    pulled: AtomicUsize,
    over: AtomicBool,
    /// Bytes to the board in a second, 0 for as many as there are, and when the next may go.
    rate: AtomicU64,
    next: Mutex<Instant>,
}

impl Wire {
    pub fn new() -> Self {
        Wire {
            sent: AtomicU64::new(0),
            fault: Mutex::new(Fault::None),
            ends: Mutex::new(Vec::new()),
            begun: AtomicUsize::new(0),
            pulled: AtomicUsize::new(0),
            over: AtomicBool::new(false),
            rate: AtomicU64::new(0),
            next: Mutex::new(Instant::now()),
        }
    }

    /// Bytes that went to the board so far, encrypted.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::SeqCst)
    }

    /// Lets so many bytes through in a second.
    pub fn limit(&self, rate: u64) {
        self.rate.store(rate, Ordering::SeqCst);
    }

    fn wait(&self, n: usize) {
        let rate = self.rate.load(Ordering::SeqCst);
        if rate > 0 {
            let mut next = self.next.lock().unwrap();
            *next = (*next).max(Instant::now()) + Duration::from_secs_f64(n as f64 / rate as f64);
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
        }
    }

    pub fn set(&self, fault: Fault) {
        *self.fault.lock().unwrap() = fault;
    }

    /// True once a cut or a stall has come about.
    pub fn struck(&self) -> bool {
        matches!(*self.fault.lock().unwrap(), Fault::Cut(0) | Fault::Stall(0))
    }

    /// Cuts whatever is connected.
    pub fn cut(&self) {
        for end in self.ends.lock().unwrap().drain(..) {
            let _ = end.shutdown(Shutdown::Both);
        }
    }

    /// Pulls the cable of all that is connected: neither side is told.
    pub fn pull(&self) {
        self.pulled.store(self.begun.load(Ordering::SeqCst), Ordering::SeqCst);
    }

    /// Lets go of everything.
    pub fn end(&self) {
        self.over.store(true, Ordering::SeqCst);
        self.cut();
    }

    /// Returns when a connection that was pulled may end.
    fn silence(&self, number: usize) {
        while number < self.pulled.load(Ordering::SeqCst) && !self.over.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Connections so far.
    pub fn connections(&self) -> usize {
        self.begun.load(Ordering::SeqCst)
    }

    /// Number of a new connection.
    pub fn begin(&self) -> usize {
        self.begun.fetch_add(1, Ordering::SeqCst)
    }

    /// Carries bytes to the board until one side ends.
    pub fn carry(&self, number: usize, mut from: TcpStream, mut to: UnixStream) {
        self.ends.lock().unwrap().push(from.try_clone().unwrap());
        let mut piece = [0; 16 << 10];
        while let Ok(n @ 1..) = from.read(&mut piece) {
            self.silence(number);
            self.wait(n);
            let passed = self.pass(n);
            self.sent.fetch_add(passed as u64, Ordering::SeqCst);
            if to.write_all(&piece[..passed]).is_err() {
                break;
            }
            if passed < n {
                match *self.fault.lock().unwrap() {
                    Fault::Stall(_) => {}
                    _ => break,
                }
                while matches!(*self.fault.lock().unwrap(), Fault::Stall(_)) {
                    std::thread::sleep(Duration::from_millis(10));
                }
                break;
            }
        }
        self.silence(number);
        if matches!(*self.fault.lock().unwrap(), Fault::Cut(0)) {
            self.cut();
        }
        let _ = to.shutdown(Shutdown::Both);
        let _ = from.shutdown(Shutdown::Both);
    }

    /// Carries its answers back.
    pub fn carry_back(&self, number: usize, mut from: UnixStream, mut to: TcpStream) {
        let mut piece = [0; 16 << 10];
        while let Ok(n @ 1..) = from.read(&mut piece) {
            self.silence(number);
            if matches!(*self.fault.lock().unwrap(), Fault::Cut(0)) || to.write_all(&piece[..n]).is_err() {
                break;
            }
            while matches!(*self.fault.lock().unwrap(), Fault::Stall(0)) {
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        let _ = to.shutdown(Shutdown::Both);
        let _ = from.shutdown(Shutdown::Both);
    }

    /// How many of `n` bytes get through.
    fn pass(&self, n: usize) -> usize {
        let mut fault = self.fault.lock().unwrap();
        match &mut *fault {
            Fault::None => n,
            Fault::Cut(left) | Fault::Stall(left) => {
                let passed = (n as u64).min(*left);
                *left -= passed;
                passed as usize
            }
        }
    }
}
