//! File contents: compressed on all cores, written in order.

use std::io::Read;
use std::num::NonZero;
use std::{panic, thread};

use super::{BLOCK, NONE, Out, PLAIN, deflate};
use crate::error::{Context, Error, Result};
use crate::filesystem::numbered::Numbered;
use crate::tree::{Content, Kind};
use crate::{fsx, interrupt};

/// Blocks that are compressed before the next ones are read.
const BATCH: usize = 64;

/// Where a file's data is.
#[derive(Clone)]
pub struct Stored {
    pub start: u64,
    /// Of each block; 0 for one of zeros.
    pub sizes: Vec<u32>,
    /// Bytes in blocks of zeros.
    pub sparse: u64,
    pub fragment: u32,
    /// First byte in the fragment.
    pub offset: u32,
}

/// Blocks on their way: the node whose they are, none for a fragment.
type Job = (Option<usize>, Vec<u8>);

/// Files, compressed on all cores and written in order.
pub struct Data<'o> {
    out: &'o mut Out,
    jobs: Vec<Job>,
    /// Of each node.
    pub stored: Vec<Stored>,
    /// Start and size of each that is written.
    pub fragments: Vec<(u64, u32)>,
    /// How many are written or on their way.
    ended: u32,
    /// The one that is being filled.
    fragment: Vec<u8>,
}

pub fn data<'o>(nodes: &[Numbered<'_>], out: &'o mut Out) -> Result<Data<'o>> {
    let nothing = Stored { start: 0, sizes: Vec::new(), sparse: 0, fragment: NONE, offset: 0 };
    let stored = vec![nothing; nodes.len()];
    let mut data =
        Data { out, jobs: Vec::new(), stored, fragments: Vec::new(), ended: 0, fragment: Vec::new() };
    for (index, node) in nodes.iter().enumerate() {
        if let Kind::File(content) = &node.inode.kind {
            data.add(index, content)
                .context(|| format!("cannot write `{}` into the squashfs filesystem", node.path))?;
        }
    }
    data.end_fragment()?;
    data.flush()?;
    Ok(data)
}

impl Data<'_> {
    fn add(&mut self, index: usize, content: &Content) -> Result<()> {
        let mut reader = content.open()?;
        let mut read = |len: u64| {
            let mut bytes = vec![0; len as usize];
            reader
                .read_exact(&mut bytes)
                .map_err(|cause| Error::new("cannot read it").caused_by(fsx::describe(&cause)))?;
            Ok(bytes)
        };
        let mut left = content.len();
        if left < BLOCK as u64 {
            if left == 0 {
                return Ok(());
            }
            if self.fragment.len() + left as usize > BLOCK {
                self.end_fragment()?;
            }
            self.stored[index].fragment = self.ended;
            self.stored[index].offset = self.fragment.len() as u32;
            self.fragment.extend(read(left)?);
            return Ok(());
        }
        while left > 0 {
            let bytes = read(left.min(BLOCK as u64))?;
            left -= bytes.len() as u64;
            self.push((Some(index), bytes))?;
        }
        Ok(())
    }

    fn end_fragment(&mut self) -> Result<()> {
        if self.fragment.is_empty() {
            return Ok(());
        }
        self.ended += 1;
        let bytes = std::mem::take(&mut self.fragment);
        self.push((None, bytes))
    }

    fn push(&mut self, job: Job) -> Result<()> {
        self.jobs.push(job);
        if self.jobs.len() >= BATCH { self.flush() } else { Ok(()) }
    }

    /// Compresses and writes what is on its way.
    fn flush(&mut self) -> Result<()> {
        interrupt::check()?;
        let jobs = std::mem::take(&mut self.jobs);
        for ((owner, bytes), packed) in jobs.iter().zip(compressed(&jobs)) {
            let at = self.out.at;
            let (stored, size) = if packed.len() < bytes.len() {
                (&packed, packed.len() as u32)
            } else {
                (bytes, bytes.len() as u32 | PLAIN)
            };
            let Some(owner) = owner else {
                self.fragments.push((at, size));
                self.out.put(stored)?;
                continue;
            };
            let file = &mut self.stored[*owner];
            if file.sizes.is_empty() {
                file.start = at;
            }
            if bytes.iter().all(|byte| *byte == 0) {
                file.sizes.push(0);
                file.sparse += bytes.len() as u64;
            } else {
                file.sizes.push(size);
                self.out.put(stored)?;
            }
        }
        Ok(())
    }
}

/// Each job compressed, on all cores.
fn compressed(jobs: &[Job]) -> Vec<Vec<u8>> {
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    let share = jobs.len().div_ceil(threads).max(1);
    thread::scope(|scope| {
        let workers: Vec<_> = jobs
            .chunks(share)
            .map(|jobs| scope.spawn(|| jobs.iter().map(|(_, bytes)| deflate(bytes)).collect::<Vec<_>>()))
            .collect();
        let ends = workers.into_iter().map(thread::ScopedJoinHandle::join);
        ends.flat_map(|end| end.unwrap_or_else(|cause| panic::resume_unwind(cause))).collect()
    })
}
