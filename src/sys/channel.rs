//! A pair of connected sockets that keep message boundaries and carry file descriptors, see unix(7).

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketFlags, SocketType,
};

use crate::call;
use crate::error::Result;

/// The longest message that is sent. An error of the container process must fit.
const LONGEST: usize = 64 * 1024;

/// socketpair(2) of sequential packets, both ends close-on-exec.
pub fn pair() -> Result<(OwnedFd, OwnedFd)> {
    call!("socketpair"("AF_UNIX", "SOCK_SEQPACKET")
        => rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None))
}

/// One message: sendmsg(2) with descriptors attached by `SCM_RIGHTS`, write(2) if there are none, because a filter that
/// is already on the sender may forbid the former. SIGPIPE must be ignored.
pub fn send(socket: impl AsFd, message: &[u8], fds: &[BorrowedFd<'_>]) -> Result<()> {
    let message = &message[..message.len().min(LONGEST)];
    if fds.is_empty() {
        return call!("write"("the channel") => rustix::io::retry_on_intr(|| rustix::io::write(&socket, message)))
            .map(drop);
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    ancillary.push(SendAncillaryMessage::ScmRights(fds));
    let parts = [IoSlice::new(message)];
    call!("sendmsg"() => rustix::io::retry_on_intr(|| {
        rustix::net::sendmsg(&socket, &parts, &mut ancillary, SendFlags::NOSIGNAL)
    }))
    .map(drop)
}

/// A whole text through a stream, however long, with a descriptor attached to its beginning.
pub fn send_whole(stream: impl AsFd, text: &[u8], fd: BorrowedFd<'_>) -> Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let fds = [fd];
    ancillary.push(SendAncillaryMessage::ScmRights(&fds));
    let parts = [IoSlice::new(text)];
    let mut sent = call!("sendmsg"() => rustix::io::retry_on_intr(|| {
        rustix::net::sendmsg(&stream, &parts, &mut ancillary, SendFlags::NOSIGNAL)
    }))?;
    while sent < text.len() {
        sent += call!("send"() => rustix::io::retry_on_intr(|| {
            rustix::net::send(&stream, &text[sent..], SendFlags::NOSIGNAL)
        }))?;
    }
    Ok(())
}

/// read(2): one short message without descriptors, for a receiver whose filter may forbid recvmsg(2).
pub fn read(socket: impl AsFd) -> Result<Vec<u8>> {
    let mut buffer = [0u8; 16];
    let length = call!("read"("the channel") => rustix::io::retry_on_intr(|| rustix::io::read(&socket, &mut buffer)))?;
    Ok(buffer[..length].to_vec())
}

/// recvmsg(2): one message and the descriptors that came with it (close-on-exec). An empty message is the end: the
/// other side has closed its end.
pub fn receive(socket: impl AsFd) -> Result<(Vec<u8>, Vec<OwnedFd>)> {
    // There from the start and never cleared: of its pages only those cost memory that a message has been in.
    static BUFFER: Mutex<[u8; LONGEST]> = Mutex::new([0; LONGEST]);
    let mut buffer = BUFFER.lock().unwrap_or_else(PoisonError::into_inner);
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = call!("recvmsg"() => rustix::io::retry_on_intr(|| {
        let mut parts = [IoSliceMut::new(&mut buffer[..])];
        rustix::net::recvmsg(&socket, &mut parts, &mut ancillary, RecvFlags::CMSG_CLOEXEC)
    }))?;
    let fds = ancillary
        .drain()
        .filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(fds) => Some(fds),
            _ => None,
        })
        .flatten()
        .collect();
    Ok((buffer[..received.bytes].to_vec(), fds))
}
