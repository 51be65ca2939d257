//! What init says to the runtime, which a process inside may have written: any datagram is a message or an error.
#![no_main]

use minicon::handshake::Channel;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let (ours, theirs) = Channel::pair().expect("a pair");
    // A duplicate of the number that the other end tells, to write what no Message is.
    let raw = rustix::io::dup(borrowed(&theirs)).expect("dup");
    // An empty datagram is the end of the file for a reader.
    let sent = rustix::net::send(&raw, bytes, rustix::net::SendFlags::DONTWAIT | rustix::net::SendFlags::NOSIGNAL);
    if sent.is_ok() {
        let _ = ours.receive();
    }
});

fn borrowed(channel: &Channel) -> std::os::fd::BorrowedFd<'_> {
    // SAFETY: the channel, and with it the descriptor, lives as long as the result.
    unsafe { std::os::fd::BorrowedFd::borrow_raw(channel.number()) }
}
