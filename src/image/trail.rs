//! The directories on the way to what was looked up last. A walk asks for name after name in one directory: were each
//! looked up from the root, deep trees would take time that grows with the square of their depth.

use std::io;

use super::inodes::bad;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Trail {
    /// The path of the last directory on it.
    path: String,
    /// Where the name of each ends in that path, and its number.
    steps: Vec<(usize, u64)>,
}

impl Trail {
    /// Goes back to the last directory that is on the way to `path`, too; says where in `path` that one's name ends.
    pub fn back(&mut self, path: &str) -> usize {
        let is_above = |end: usize, known: &str| {
            path.as_bytes().get(end) == Some(&b'/') && path.starts_with(&known[..end])
        };
        while self.steps.last().is_some_and(|(end, _)| !is_above(*end, &self.path)) {
            self.steps.pop();
        }
        let end = self.steps.last().map_or(0, |(end, _)| *end);
        self.path.truncate(end);
        end
    }

    /// The number of the last directory; `None` is the root.
    pub fn last(&self) -> Option<u64> {
        self.steps.last().map(|(_, number)| *number)
    }

    /// Goes on to the directory that `path` names up to `end`.
    pub fn on(&mut self, path: &str, end: usize, number: u64) {
        self.path.push_str(&path[self.path.len()..end]);
        self.steps.push((end, number));
    }

    /// A directory has one name; one that holds itself goes on for ever.
    pub fn check(&self, number: u64) -> io::Result<()> {
        if self.steps.iter().any(|(_, above)| *above == number) {
            return Err(bad("its directories lead in circles"));
        }
        Ok(())
    }
}

/// The names of a path from `at` on, and where each ends.
pub(super) fn names(path: &str, mut at: usize) -> impl Iterator<Item = (&str, usize)> {
    std::iter::from_fn(move || {
        at += path[at..].find(|c| c != '/')?;
        let start = at;
        at += path[at..].find('/').unwrap_or(path.len() - at);
        Some((&path[start..at], at))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_back_to_what_both_paths_have() {
        let mut trail = Trail::default();
        for (end, number) in [(1, 11), (4, 12), (6, 13)] {
            trail.on("a/bc/d/e", end, number);
        }
        assert!(trail.check(12).is_err() && trail.check(14).is_ok());
        assert_eq!((trail.back("a/bc/d/f"), trail.last()), (6, Some(13)));
        assert_eq!((trail.back("a/bc/d"), trail.last()), (4, Some(12)));
        assert_eq!((trail.back("a/bcd/d"), trail.last()), (1, Some(11)));
        trail.on("a/bcd/d", 5, 14);
        assert_eq!((trail.back("a/bcd/x"), trail.last()), (5, Some(14)));
        assert_eq!((trail.back("b"), trail.last()), (0, None));
        assert_eq!(names("/a//bc/", 0).collect::<Vec<_>>(), [("a", 2), ("bc", 6)]);
        assert_eq!(names("a/bc", 1).collect::<Vec<_>>(), [("bc", 4)]);
    }
}
