//! The little of rtnetlink(7) that moving network devices takes: find a link, change it, list and add its addresses.

#[doc(hidden)] // Public for fuzz/.
pub mod message;

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

use self::message::{Request, attributes, malformed, number, replies, text};
use crate::call;
use crate::error::{Error, Result};
use crate::sys::network;

/// The lengths of `struct ifinfomsg` and `struct ifaddrmsg`.
const LINK: usize = 16;
const ADDRESS: usize = 8;

/// More than the kernel ever puts into one datagram of a dump.
const LARGEST: usize = 64 * 1024;

/// How often a list is asked for again because it has changed while it was told.
const ATTEMPTS: usize = 16;

/// `NLMSGERR_ATTR_MSG` of linux/netlink.h.
const ERROR_TEXT: u16 = 1;

/// A socket to the network namespace in which it was opened, which it keeps alive.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    sequence: u32,
}

/// A network device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its number in its namespace.
    pub index: i32,
    /// It is up.
    pub up: bool,
    /// The number of the bridge or bond that it belongs to.
    pub master: Option<u32>,
}

/// An address of a device, as the kernel tells it and takes it again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// The beginning of `struct ifaddrmsg`: family, length of the prefix, flags, scope.
    head: [u8; 4],
    attributes: Vec<(u16, Vec<u8>)>,
}

impl Address {
    /// "all permanent IP addresses (IFA_F_PERMANENT flag) of any family with global scope (RT_SCOPE_UNIVERSE value)"
    /// (config-linux.md, Network Devices).
    pub fn is_permanent_and_global(&self) -> bool {
        let wide = self.attributes.iter().find(|(kind, _)| *kind == libc::IFA_FLAGS);
        let flags = wide.and_then(|(_, value)| number(value, 0)).unwrap_or(u32::from(self.head[2]));
        flags & libc::IFA_F_PERMANENT != 0 && self.head[3] == libc::RT_SCOPE_UNIVERSE
    }
}

impl Socket {
    /// Opens a socket in the network namespace of the calling process.
    pub fn open() -> Result<Socket> {
        let fd = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None);
        let fd = call!("socket"("AF_NETLINK", "SOCK_RAW", "NETLINK_ROUTE") => fd)?;
        // Connected to the kernel, it hears nobody else.
        call!("connect"("AF_NETLINK", 0) => rustix::net::connect(&fd, &SocketAddrNetlink::new(0, 0)))?;
        network::want_error_texts(&fd);
        Ok(Socket { fd, sequence: 0 })
    }

    /// The device of this name, if there is one.
    pub fn find(&mut self, name: &str) -> Result<Option<Link>> {
        let request = Request::new(libc::RTM_GETLINK, libc::NLM_F_REQUEST, &link(0, 0)).with_name(name)?;
        match self.ask(request, &format!("RTM_GETLINK, {name}")) {
            Err(error) if error.errno() == Some(Errno::NODEV) => Ok(None),
            answer => {
                let body = answer?.into_iter().next().ok_or_else(malformed)?;
                parse_link(&body).map(Some)
            }
        }
    }

    /// Moves a device into another network namespace, where it has this name.
    pub fn move_to(&mut self, index: i32, namespace: impl AsFd, name: &str) -> Result<()> {
        let number = namespace.as_fd().as_raw_fd();
        let request = change(index, 0).with(libc::IFLA_NET_NS_FD, &number.to_ne_bytes())?.with_name(name)?;
        self.ask(request, &format!("RTM_SETLINK, {index}, IFLA_NET_NS_FD, {name}")).map(drop)
    }

    /// Gives a device a name; of a template the kernel makes one.
    pub fn rename(&mut self, index: i32, name: &str) -> Result<()> {
        self.ask(change(index, 0).with_name(name)?, &format!("RTM_SETLINK, {index}, IFLA_IFNAME, {name}")).map(drop)
    }

    /// Brings a device up.
    pub fn bring_up(&mut self, index: i32) -> Result<()> {
        self.ask(change(index, libc::IFF_UP as u32), &format!("RTM_SETLINK, {index}, IFF_UP")).map(drop)
    }

    /// Makes a device part of a bridge or a bond.
    pub fn set_master(&mut self, index: i32, master: u32) -> Result<()> {
        let request = change(index, 0).with(libc::IFLA_MASTER, &master.to_ne_bytes())?;
        self.ask(request, &format!("RTM_SETLINK, {index}, IFLA_MASTER, {master}")).map(drop)
    }

    /// The addresses of a device, of every family.
    pub fn addresses(&mut self, index: i32) -> Result<Vec<Address>> {
        let flags = libc::NLM_F_REQUEST | libc::NLM_F_DUMP;
        let all = self.ask(Request::new(libc::RTM_GETADDR, flags, &[0; ADDRESS]), "RTM_GETADDR")?;
        let of_device = all.iter().filter(|body| number(body, 4) == Some(index as u32));
        of_device.map(|body| parse_address(body)).collect()
    }

    /// Gives a device an address.
    pub fn add_address(&mut self, index: i32, address: &Address) -> Result<()> {
        let flags = libc::NLM_F_REQUEST | libc::NLM_F_ACK | libc::NLM_F_CREATE | libc::NLM_F_EXCL;
        let body = [address.head, index.to_ne_bytes()].concat();
        let request = Request::new(libc::RTM_NEWADDR, flags, &body);
        let mut known = address.attributes.iter();
        let request = known.try_fold(request, |request, (kind, value)| request.with(*kind, value))?;
        self.ask(request, &format!("RTM_NEWADDR, {index}")).map(drop)
    }

    /// One request, and what the messages that answer it carry.
    fn ask(&mut self, request: Request, what: &str) -> Result<Vec<Vec<u8>>> {
        for _ in 0..ATTEMPTS {
            self.sequence += 1;
            let bytes = request.clone().finish(self.sequence)?;
            let sent = rustix::io::retry_on_intr(|| rustix::net::send(&self.fd, &bytes, SendFlags::empty()));
            call!("send"(what) => sent)?;
            if let Some(answer) = self.answer(what)? {
                return Ok(answer);
            }
        }
        call!("rtnetlink"(what) => Err(Errno::INTR))
    }

    /// None if the list has changed while it was told (`NLM_F_DUMP_INTR`): it must be asked for again.
    fn answer(&mut self, what: &str) -> Result<Option<Vec<Vec<u8>>>> {
        let mut answer = Vec::new();
        let mut is_whole = true;
        let mut buffer = vec![0; LARGEST];
        loop {
            let received = rustix::io::retry_on_intr(|| rustix::net::recv(&self.fd, &mut buffer[..], RecvFlags::TRUNC));
            let (_, length) = call!("recv"(what) => received)?;
            for reply in replies(buffer.get(..length).ok_or_else(malformed)?)? {
                if reply.sequence != self.sequence {
                    continue;
                }
                is_whole &= reply.flags & libc::NLM_F_DUMP_INTR == 0;
                let is_end = [libc::NLMSG_ERROR, libc::NLMSG_DONE].contains(&i32::from(reply.kind));
                if is_end {
                    check(reply, what)?;
                } else {
                    answer.push(reply.body.to_vec());
                }
                if is_end || reply.flags & libc::NLM_F_MULTI == 0 {
                    return Ok(is_whole.then_some(answer));
                }
            }
        }
    }
}

impl Request {
    fn with_name(self, name: &str) -> Result<Request> {
        self.with(libc::IFLA_IFNAME, &[name.as_bytes(), &[0]].concat())
    }
}

/// `struct ifinfomsg`: flags are those to be set.
fn link(index: i32, flags: u32) -> [u8; LINK] {
    let mut body = [0; LINK];
    body[4..8].copy_from_slice(&index.to_ne_bytes());
    body[8..12].copy_from_slice(&flags.to_ne_bytes());
    body[12..16].copy_from_slice(&flags.to_ne_bytes());
    body
}

fn change(index: i32, flags: u32) -> Request {
    Request::new(libc::RTM_SETLINK, libc::NLM_F_REQUEST | libc::NLM_F_ACK, &link(index, flags))
}

fn parse_link(body: &[u8]) -> Result<Link> {
    let (index, flags) = number(body, 4).zip(number(body, 8)).ok_or_else(malformed)?;
    let master = attributes(body, LINK)?.into_iter().find(|(kind, _)| *kind == libc::IFLA_MASTER);
    let master = master.and_then(|(_, value)| number(value, 0));
    Ok(Link { index: index as i32, up: flags & libc::IFF_UP as u32 != 0, master })
}

/// What is kept of an address. Its label is left out: it is made of the device's name.
fn parse_address(body: &[u8]) -> Result<Address> {
    const IFA_RT_PRIORITY: u16 = 9;
    const IFA_PROTO: u16 = 11;
    let kept = [
        libc::IFA_ADDRESS,
        libc::IFA_LOCAL,
        libc::IFA_BROADCAST,
        libc::IFA_ANYCAST,
        libc::IFA_CACHEINFO,
        libc::IFA_FLAGS,
        IFA_RT_PRIORITY,
        IFA_PROTO,
    ];
    let head = body.first_chunk::<4>().ok_or_else(malformed)?;
    let attributes = attributes(body, ADDRESS)?.into_iter().filter(|(kind, _)| kept.contains(kind));
    Ok(Address { head: *head, attributes: attributes.map(|(kind, value)| (kind, value.to_vec())).collect() })
}

/// The end of an answer: 0 or the negative errno, then the request as it was, then what the kernel says of it.
fn check(reply: message::Reply<'_>, what: &str) -> Result<()> {
    let errno = number(reply.body, 0).map_or(0, |value| (value as i32).wrapping_neg());
    if errno == 0 {
        return Ok(());
    }
    let failed = Error::call("rtnetlink", what.to_owned(), Errno::from_raw_os_error(errno));
    let request = number(reply.body, 4).unwrap_or(0) as usize;
    let skipped = if reply.flags & libc::NLM_F_CAPPED != 0 { 16 } else { request.next_multiple_of(4) };
    let texts = match reply.flags & libc::NLM_F_ACK_TLVS {
        0 => Vec::new(),
        _ => attributes(reply.body, 4 + skipped).unwrap_or_default(),
    };
    Err(match texts.into_iter().find(|(kind, _)| *kind == ERROR_TEXT) {
        Some((_, value)) => failed.hint(format!("the kernel says: {}", text(value))),
        None => failed,
    })
}
