//! Terminals: the container's pty, handing its master to an engine, and relaying it to ours.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use rustix::pty::OpenptFlags;
use rustix::termios::{OptionalActions, OutputModes, Termios, Winsize};

use crate::call;
use crate::error::{Context, Error, Result};
use crate::hints;
use crate::sys::{self, channel, path};

/// A new pseudo terminal.
#[derive(Debug)]
pub struct Pty {
    /// The side of the person.
    pub master: OwnedFd,
    /// The side of the program.
    pub slave: OwnedFd,
}

/// Makes a pty in the container's own devpts; the working root is the container's by now. The slave is taken from the
/// master by `TIOCGPTPEER`, never by a name that the container could have replaced (CVE-2025-52565).
pub fn open_pty(size: Option<(u16, u16)>) -> Result<Pty> {
    let opened = || {
        let flags = OFlags::RDWR | OFlags::NOCTTY;
        let ptmx = Path::new("/dev/pts/ptmx");
        let master = path::openat2(rustix::fs::CWD, ptmx, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS)?;
        check_is_ptmx(&master)?;
        call!("ioctl"(sys::Fd(&master), "TIOCSPTLCK") => rustix::pty::unlockpt(&master))?;
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let slave = call!("ioctl"(sys::Fd(&master), "TIOCGPTPEER") => rustix::pty::ioctl_tiocgptpeer(&master, flags))?;
        if let Some((rows, columns)) = size {
            set_size(&master, Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 })?;
        }
        Ok(Pty { master, slave })
    };
    opened().step(|| "open a pseudo terminal").hint(hints::DEVPTS)
}

/// The multiplexer is the character device 5:2 on a devpts, whatever its name says.
fn check_is_ptmx(master: &OwnedFd) -> Result<()> {
    const DEVPTS_SUPER_MAGIC: u64 = 0x1cd1;
    let stat = call!("fstat"(sys::Fd(master)) => rustix::fs::fstat(master))?;
    let filesystem = call!("fstatfs"(sys::Fd(master)) => rustix::fs::fstatfs(master))?;
    let is_device = stat.st_rdev == rustix::fs::makedev(5, 2);
    if filesystem.f_type as u64 == DEVPTS_SUPER_MAGIC && is_device {
        return Ok(());
    }
    Err(Error::new("/dev/pts/ptmx is not the pseudo terminal multiplexer of a devpts"))
}

/// Makes the slave the session's controlling terminal and its standard streams. The caller leads the session.
pub fn adopt(slave: &OwnedFd) -> Result<()> {
    sys::process::set_controlling_terminal(slave.as_fd())?;
    sys::process::use_as_stdio(slave.as_fd())
}

/// A connection to the engine that will hold the master (`--console-socket`).
#[derive(Debug)]
pub struct ConsoleSocket(OwnedFd);

impl ConsoleSocket {
    /// Connects before anything is made, so that a wrong path costs nothing.
    pub fn connect(socket: &Path) -> Result<ConsoleSocket> {
        connect(socket).map(ConsoleSocket).step(|| format!("connect to the console socket {}", socket.display()))
    }

    /// Hands the master over: one byte at least, with the descriptor attached, as engines expect.
    pub fn hand_over(&self, master: &OwnedFd) -> Result<()> {
        channel::send(&self.0, b"/dev/ptmx", &[master.as_fd()]).step(|| "hand the terminal to the console socket")
    }
}

/// connect(2) to a stream socket. Paths that do not fit a socket address go through the open directory.
pub fn connect(socket: &Path) -> Result<OwnedFd> {
    let made = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None);
    let made = call!("socket"("AF_UNIX", "SOCK_STREAM") => made)?;
    let address = match SocketAddrUnix::new(socket) {
        Ok(address) => address,
        Err(_) => {
            // sun_path holds 107 bytes; /proc/self/fd shortens the directory.
            let (directory, name) = (socket.parent().unwrap_or(Path::new("/")), socket.file_name().unwrap_or_default());
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let opened = call!("open"(directory.display()) => rustix::fs::open(directory, flags, Mode::empty()))?;
            let number = std::os::fd::AsRawFd::as_raw_fd(&opened);
            let short = format!("/proc/self/fd/{number}/{}", name.to_string_lossy());
            let address = call!("connect"(socket.display()) => SocketAddrUnix::new(short.as_str()))?;
            call!("connect"(socket.display()) => rustix::net::connect(&made, &address))?;
            return Ok(made);
        }
    };
    call!("connect"(socket.display()) => rustix::net::connect(&made, &address))?;
    Ok(made)
}

/// Our own terminal in raw mode while a container's is relayed to it; as it was when dropped.
#[derive(Debug)]
pub struct RawMode {
    before: Termios,
}

impl RawMode {
    /// Switches stdin to raw mode, if it is a terminal.
    pub fn enter() -> Option<RawMode> {
        let stdin = rustix::stdio::stdin();
        let before = rustix::termios::tcgetattr(stdin).ok()?;
        let mut raw = before.clone();
        raw.make_raw();
        rustix::termios::tcsetattr(stdin, OptionalActions::Flush, &raw).ok()?;
        Some(RawMode { before })
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        let _ = rustix::termios::tcsetattr(rustix::stdio::stdin(), OptionalActions::Flush, &self.before);
    }
}

/// Fits the container's terminal to what it will be relayed to, before the program can look.
pub fn fit(master: &OwnedFd) {
    copy_size(master);
    keep_line_ends(master);
}

/// Where our stdout is no terminal, a line's end reaches it as the program wrote it, without the carriage return that the
/// container's terminal would add: whoever captures the output wants the text, and gets that from runc too.
fn keep_line_ends(master: &OwnedFd) {
    if rustix::termios::isatty(rustix::stdio::stdout()) {
        return;
    }
    if let Ok(mut settings) = rustix::termios::tcgetattr(master) {
        settings.output_modes.remove(OutputModes::ONLCR);
        let _ = rustix::termios::tcsetattr(master, OptionalActions::Now, &settings);
    }
}

/// Gives the container's terminal the size of ours, if ours is one.
pub fn copy_size(master: &OwnedFd) {
    if let Ok(size) = rustix::termios::tcgetwinsize(rustix::stdio::stdin()) {
        let _ = rustix::termios::tcsetwinsize(master, size);
    }
}

fn set_size(master: &OwnedFd, size: Winsize) -> Result<()> {
    call!("ioctl"(sys::Fd(master), "TIOCSWINSZ") => rustix::termios::tcsetwinsize(master, size))
}

/// Copies what is there from one descriptor to another; false at the end.
pub fn copy(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> bool {
    let mut buffer = [0; 4096];
    match rustix::io::read(from, &mut buffer) {
        // EIO: the last holder of a pty's slave has closed it.
        Ok(0) | Err(rustix::io::Errno::IO) => false,
        Ok(length) => write_all(to, &buffer[..length]),
        Err(_) => true,
    }
}

fn write_all(to: BorrowedFd<'_>, mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        match rustix::io::write(to, bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) => {
                let mut ready = [rustix::event::PollFd::from_borrowed_fd(to, rustix::event::PollFlags::OUT)];
                let _ = rustix::event::poll(&mut ready, None);
            }
            Err(_) => return false,
        }
    }
    true
}
