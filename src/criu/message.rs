//! The messages of criu's RPC (`images/rpc.proto` of criu): the fields that we use, in the wire format of protocol buffers.
//!
//! A message is a row of fields, each a key (number and kind) and a value: a variable-length integer, or a length and as
//! many bytes. Unknown fields are passed over, so that a newer criu may say more.

use crate::error::{Error, Result};

/// `criu_req_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Kind {
    Dump = 1,
    Restore = 2,
    PreDump = 4,
    Notify = 6,
}

/// A message that is being written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fields(Vec<u8>);

/// How a value is told from another on the wire.
const INTEGER: u64 = 0;
const BYTES: u64 = 2;

impl Fields {
    /// An integer, or an enumeration's number. A negative one takes ten bytes, as the format has it.
    pub fn number(&mut self, field: u64, value: i64) -> &mut Self {
        self.variable(field << 3 | INTEGER);
        self.variable(value as u64);
        self
    }

    /// A flag; an absent one is false.
    pub fn flag(&mut self, field: u64, value: bool) -> &mut Self {
        if value { self.number(field, 1) } else { self }
    }

    /// A string.
    pub fn text(&mut self, field: u64, value: impl AsRef<[u8]>) -> &mut Self {
        let value = value.as_ref();
        self.variable(field << 3 | BYTES);
        self.variable(value.len() as u64);
        self.0.extend_from_slice(value);
        self
    }

    /// A message inside this one.
    pub fn message(&mut self, field: u64, fields: &Fields) -> &mut Self {
        self.text(field, &fields.0)
    }

    /// The bytes to send.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    fn variable(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

/// What criu says: `criu_resp`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Response {
    /// `criu_req_type`.
    pub kind: i64,
    /// It went well so far.
    pub success: bool,
    /// The errno of a failure, if one says more.
    pub errno: i32,
    /// The text of a failure (criu 3.15).
    pub message: String,
    /// The name of a notification.
    pub script: String,
    /// The process that a notification or the end of a restore is about.
    pub pid: i32,
}

impl Response {
    /// Decodes a message; any bytes will do, as criu is a program of its own.
    pub fn decode(bytes: &[u8]) -> Result<Response> {
        let mut response = Response::default();
        let garbled = || Error::new("criu said something that is no message of its protocol");
        for field in parse(bytes).ok_or_else(garbled)? {
            match field {
                (1, Value::Number(kind)) => response.kind = kind,
                (2, Value::Number(success)) => response.success = success != 0,
                (4, Value::Bytes(restored)) => {
                    for field in parse(restored).ok_or_else(garbled)? {
                        if let (1, Value::Number(pid)) = field {
                            response.pid = pid as i32;
                        }
                    }
                }
                (5, Value::Bytes(notification)) => {
                    for field in parse(notification).ok_or_else(garbled)? {
                        match field {
                            (1, Value::Bytes(script)) => response.script = String::from_utf8_lossy(script).into_owned(),
                            (2, Value::Number(pid)) => response.pid = pid as i32,
                            _ => {}
                        }
                    }
                }
                (7, Value::Number(errno)) => response.errno = errno as i32,
                (9, Value::Bytes(message)) => response.message = String::from_utf8_lossy(message).into_owned(),
                _ => {}
            }
        }
        Ok(response)
    }
}

enum Value<'a> {
    Number(i64),
    Bytes(&'a [u8]),
}

/// The fields of a message, with their numbers; None if it is cut short or has kinds that this protocol does not use.
fn parse(mut bytes: &[u8]) -> Option<Vec<(u64, Value<'_>)>> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let key = variable(&mut bytes)?;
        let value = match key & 7 {
            INTEGER => Value::Number(variable(&mut bytes)? as i64),
            BYTES => {
                let length = usize::try_from(variable(&mut bytes)?).ok()?;
                let (value, rest) = bytes.split_at_checked(length)?;
                bytes = rest;
                Value::Bytes(value)
            }
            _ => return None,
        };
        fields.push((key >> 3, value));
    }
    Some(fields)
}

fn variable(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Fields, Kind, Response};

    #[test]
    fn fields_are_written_as_the_format_has_them() {
        let mut inner = Fields::default();
        inner.text(1, "key").text(2, "val");
        let mut fields = Fields::default();
        fields.number(1, Kind::Restore as i64).number(2, 300).number(3, -1).flag(4, true).flag(5, false);
        fields.message(23, &inner);
        let expected = b"\x08\x02\x10\xac\x02\x18\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x20\x01\
            \xba\x01\x0a\x0a\x03key\x12\x03val";
        assert_eq!(fields.bytes(), expected);
    }

    #[test]
    fn a_response_is_read_and_what_is_unknown_passed_over() {
        let mut notification = Fields::default();
        notification.text(1, "post-restore").number(2, 4242);
        let mut said = Fields::default();
        said.number(1, 6).flag(2, true).message(5, &notification).number(7, -2).text(9, "no").text(99, "new");
        let expected = Response {
            kind: Kind::Notify as i64,
            success: true,
            errno: -2,
            message: "no".into(),
            script: "post-restore".into(),
            pid: 4242,
        };
        assert_eq!(Response::decode(said.bytes()).expect("a response"), expected);
        assert!(Response::decode(&said.bytes()[..7]).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_decoded_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Response::decode(&bytes);
        }
    }
}
