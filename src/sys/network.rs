//! Network devices, see netdevice(7).

use std::os::fd::{AsRawFd, OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType};

use super::outcome;
use crate::call;
use crate::error::{Error, Result};

/// Brings a device of our network namespace up that nobody has changed yet: `SIOCSIFFLAGS` with `IFF_UP`. The kernel gives `lo` its addresses then.
pub fn bring_up(name: &str) -> Result<()> {
    let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None);
    let socket = call!("socket"("AF_INET", "SOCK_DGRAM") => socket)?;
    // SAFETY: a structure of integers and bytes, for which all zeros is a valid value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if name.len() >= request.ifr_name.len() {
        return Err(Error::new(format!("{name:?} is too long for a network device")));
    }
    for (place, byte) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *place = byte as libc::c_char;
    }
    // A new device has no other flag that this request could change, see `IFF_VOLATILE` in linux/if.h.
    request.ifr_ifru.ifru_flags = libc::IFF_UP as libc::c_short;
    // SAFETY: as above; the kernel only reads.
    let set = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    call!("ioctl"("SIOCSIFFLAGS", name, "IFF_UP") => outcome(set.into())).map(drop)
}

/// setsockopt(2) `NETLINK_EXT_ACK`, see netlink(7): errors come with the kernel's words (Linux 4.12). Without it they come
/// without.
pub fn want_error_texts(socket: &OwnedFd) {
    let on: libc::c_int = 1;
    let size = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the kernel reads one int, which lives across the call.
    unsafe {
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_NETLINK, libc::NETLINK_EXT_ACK, (&raw const on).cast(), size)
    };
}
