//! Descriptors that are closed together: one close_range(2) for a row of numbers instead of a close(2) for each.

use std::os::fd::{IntoRawFd, OwnedFd, RawFd};

use super::outcome;

/// Descriptors that nobody needs any more. They are closed when they have become many, and with this.
#[derive(Debug, Default)]
pub struct Spent(Vec<OwnedFd>);

/// Few enough for a low RLIMIT_NOFILE: a thousand mounts must not take a thousand descriptors.
const MOST: usize = 32;

impl Spent {
    /// Takes one.
    pub fn add(&mut self, fd: OwnedFd) {
        self.0.push(fd);
        if self.0.len() >= MOST {
            self.close();
        }
    }

    /// Closes them now.
    pub fn close(&mut self) {
        let mut numbers: Vec<RawFd> = self.0.drain(..).map(IntoRawFd::into_raw_fd).collect();
        numbers.sort_unstable();
        numbers.chunk_by(|one, next| one + 1 == *next).for_each(close_row);
    }
}

impl Drop for Spent {
    fn drop(&mut self) {
        self.close();
    }
}

impl FromIterator<OwnedFd> for Spent {
    fn from_iter<I: IntoIterator<Item = OwnedFd>>(fds: I) -> Spent {
        Spent(fds.into_iter().collect())
    }
}

/// The numbers follow each other, and each was given up by its owner.
fn close_row(row: &[RawFd]) {
    if let [first, .., last] = row {
        // SAFETY: closes the descriptors of the row and no other; nothing owns them any more.
        if outcome(unsafe { libc::syscall(libc::SYS_close_range, *first, *last, 0) }).is_ok() {
            return;
        }
    }
    for fd in row {
        // SAFETY: as above. One alone, or before Linux 5.9.
        unsafe { libc::close(*fd) };
    }
}

#[cfg(test)]
mod tests {
    use super::Spent;
    use std::os::fd::{AsRawFd, OwnedFd, RawFd};

    #[test]
    fn what_is_spent_is_closed_and_nothing_else() {
        let null = || OwnedFd::from(std::fs::File::open("/dev/null").expect("opened"));
        // High numbers, which no other test's thread is given meanwhile.
        let high = |fd: OwnedFd, from: RawFd| rustix::io::fcntl_dupfd_cloexec(&fd, from).expect("copied");
        let fds: Vec<OwnedFd> = (0..6).map(|index| high(null(), 700 + index)).collect();
        let numbers: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
        let mut fds: Vec<Option<OwnedFd>> = fds.into_iter().map(Some).collect();
        let kept = fds[2].take();
        drop(fds.into_iter().flatten().collect::<Spent>());
        let open: Vec<RawFd> = numbers.iter().copied().filter(|fd| crate::sys::process::is_open(*fd)).collect();
        assert_eq!(open, [numbers[2]]);
        drop(kept);
    }
}
