//! Messages of netlink(7) and rtnetlink(7) as bytes: the host's byte order, everything aligned to four bytes.

use crate::error::{Error, Result};

/// The length of `struct nlmsghdr`.
const HEADER: usize = 16;
/// The length of `struct rtattr`.
const ATTRIBUTE: usize = 4;

/// A request that is being put together.
#[derive(Debug, Clone)]
pub struct Request(Vec<u8>);

impl Request {
    /// A request of a kind (`RTM_*`) with flags (`NLM_F_*`) and its fixed part.
    pub fn new(kind: u16, flags: i32, body: &[u8]) -> Request {
        let mut bytes = vec![0; HEADER];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[6..8].copy_from_slice(&(flags as u16).to_ne_bytes());
        bytes.extend_from_slice(body);
        pad(&mut bytes);
        Request(bytes)
    }

    /// Adds an attribute. One that is longer than its length can tell would be read by the kernel as something else
    /// (CVE-2021-43784).
    pub fn with(mut self, kind: u16, value: &[u8]) -> Result<Request> {
        let length = u16::try_from(ATTRIBUTE + value.len());
        let length = length.map_err(|_| Error::new("an attribute is too long for a netlink message"))?;
        self.0.extend_from_slice(&length.to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(value);
        pad(&mut self.0);
        Ok(self)
    }

    /// The bytes, with their length and a number to know the answer by.
    pub fn finish(mut self, sequence: u32) -> Result<Vec<u8>> {
        let length = u32::try_from(self.0.len()).map_err(|_| Error::new("a netlink message is too long"))?;
        self.0[0..4].copy_from_slice(&length.to_ne_bytes());
        self.0[8..12].copy_from_slice(&sequence.to_ne_bytes());
        Ok(self.0)
    }
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

/// A message of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reply<'a> {
    /// `RTM_*` or `NLMSG_*`.
    pub kind: u16,
    /// `NLM_F_*`.
    pub flags: i32,
    /// The number of the request.
    pub sequence: u32,
    /// What follows the header.
    pub body: &'a [u8],
}

/// The messages of one datagram.
pub fn replies(mut bytes: &[u8]) -> Result<Vec<Reply<'_>>> {
    let mut replies = Vec::new();
    while !bytes.is_empty() {
        let length = number(bytes, 0).map_or(0, |length| length as usize);
        let (Some(message), true) = (bytes.get(..length), length >= HEADER) else { return Err(malformed()) };
        let short = |at: usize| u16::from_ne_bytes([message[at], message[at + 1]]);
        let (kind, flags, sequence) = (short(4), i32::from(short(6)), number(message, 8).unwrap_or(0));
        replies.push(Reply { kind, flags, sequence, body: &message[HEADER..] });
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(replies)
}

/// The attributes after a fixed part of some length: kind and value.
pub fn attributes(body: &[u8], fixed: usize) -> Result<Vec<(u16, &[u8])>> {
    let mut bytes = body.get(fixed..).ok_or_else(malformed)?;
    let mut attributes = Vec::new();
    while bytes.len() >= ATTRIBUTE {
        let length = usize::from(u16::from_ne_bytes([bytes[0], bytes[1]]));
        // The two highest bits tell how the value is built: nested, or in network byte order.
        let kind = u16::from_ne_bytes([bytes[2], bytes[3]]) & 0x3fff;
        let value = bytes.get(ATTRIBUTE..length).ok_or_else(malformed)?;
        attributes.push((kind, value));
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(attributes)
}

/// A number of four bytes at a place.
pub fn number(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..)?.get(..4)?;
    Some(u32::from_ne_bytes([four[0], four[1], four[2], four[3]]))
}

/// The text of an attribute, which ends with a zero byte.
pub fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned()
}

/// An answer that cannot be read.
pub fn malformed() -> Error {
    Error::new("the kernel's netlink message cannot be read")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_longer_than_its_length_field_is_refused() {
        let request = || Request::new(16, 5, &[0; 16]);
        assert!(request().with(3, &[1; 65531]).is_ok());
        assert!(request().with(3, &[1; 65532]).is_err(), "CVE-2021-43784");
    }

    #[test]
    fn lengths_count_the_header_and_not_the_padding() {
        let bytes = Request::new(16, 5, &[]).with(3, b"lo\0").and_then(|request| request.finish(7)).expect("short");
        let expected = [24, 0, 0, 0, 16, 0, 5, 0, 7, 0, 0, 0, 0, 0, 0, 0, 7, 0, 3, 0, b'l', b'o', 0, 0];
        assert_eq!(bytes, if cfg!(target_endian = "little") { expected.to_vec() } else { bytes.clone() });
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            kind: u16, flags in 0..0xffff, sequence: u32,
            values in prop::collection::vec((0u16..0x3fff, prop::collection::vec(any::<u8>(), 0..40)), 0..5)
        ) {
            let request = values.iter().try_fold(Request::new(kind, flags, &[1, 2, 3, 4]), |request, (kind, value)| {
                request.with(*kind, value)
            });
            let bytes = request.and_then(|request| request.finish(sequence)).expect("short");
            let replies = replies(&bytes).expect("whole");
            prop_assert_eq!((replies.len(), replies[0].kind, replies[0].sequence), (1, kind, sequence));
            let read = attributes(replies[0].body, 4).expect("whole");
            let read: Vec<_> = read.into_iter().map(|(kind, value)| (kind, value.to_vec())).collect();
            prop_assert_eq!(read, values);
        }

        #[test]
        fn nothing_that_arrives_is_read_past_its_end(bytes in prop::collection::vec(any::<u8>(), 0..200), fixed in 0usize..40) {
            if let Ok(replies) = replies(&bytes) {
                for reply in replies {
                    let _ = attributes(reply.body, fixed);
                }
            }
            let _ = attributes(&bytes, fixed);
        }
    }
}
