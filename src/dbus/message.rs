//! Messages as bytes (specification, Message Protocol). What comes in is checked before it is believed: any bytes give a
//! message or an error, in memory that is bounded by their number.

use crate::error::{Error, Result};
use crate::plan::variant::{DEEPEST, Value, split_type};

/// The longest message that is taken. systemd's answers have a few hundred bytes.
const LONGEST: usize = 256 * 1024;
/// The part of a message that tells how long it is.
pub const PREFIX: usize = 16;

/// What a message is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Kind {
    #[default]
    Call,
    Return,
    Error,
    Signal,
    /// "Unknown types must be ignored."
    Unknown,
}

/// A message. The header's fields have the names of the specification.
#[derive(Debug, Clone, Default, PartialEq)]
#[allow(missing_docs)]
pub struct Message {
    pub kind: Kind,
    pub serial: u32,
    pub reply_serial: Option<u32>,
    pub path: Option<String>,
    pub interface: Option<String>,
    pub member: Option<String>,
    pub error_name: Option<String>,
    pub destination: Option<String>,
    pub sender: Option<String>,
    pub body: Vec<Value>,
}

impl Message {
    /// A call of a method.
    pub fn call(destination: &str, path: &str, interface: &str, member: &str, body: Vec<Value>) -> Message {
        Message {
            path: Some(path.to_owned()),
            interface: Some(interface.to_owned()),
            member: Some(member.to_owned()),
            destination: Some(destination.to_owned()),
            body,
            ..Message::default()
        }
    }

    /// The bytes, little-endian. The fields stand in the order in which libsystemd writes those of a call.
    pub fn encode(&self) -> Vec<u8> {
        let mut body = Writer::default();
        self.body.iter().for_each(|value| body.value(value));
        let signature: String = self.body.iter().map(Value::signature).collect();
        let string = |value: &Option<String>| value.clone().map(Value::String);
        let fields = [
            (1, self.path.clone().map(Value::ObjectPath)),
            (3, string(&self.member)),
            (2, string(&self.interface)),
            (4, string(&self.error_name)),
            (5, self.reply_serial.map(Value::Uint32)),
            (6, string(&self.destination)),
            (8, Some(Value::Signature(signature)).filter(|_| !self.body.is_empty())),
            (7, string(&self.sender)),
        ];
        let field = |(code, value): (u8, Option<Value>)| {
            Some(Value::Struct(vec![Value::Byte(code), Value::Variant(Box::new(value?))]))
        };
        let fields = Value::Array("(yv)".to_owned(), fields.into_iter().filter_map(field).collect());
        let kind = match self.kind {
            Kind::Call => 1,
            Kind::Return => 2,
            Kind::Error => 3,
            Kind::Signal => 4,
            Kind::Unknown => 0,
        };
        // No flags; version 1 of the protocol.
        let mut message = Writer { bytes: vec![b'l', kind, 0, 1] };
        message.value(&Value::Uint32(body.bytes.len() as u32));
        message.value(&Value::Uint32(self.serial));
        message.value(&fields);
        message.align(8);
        message.bytes.extend(body.bytes);
        message.bytes
    }

    /// How many bytes the message has that begins with these; at least [`PREFIX`] must be there.
    pub fn length(prefix: &[u8]) -> Result<usize> {
        let prefix = prefix.get(..PREFIX).ok_or_else(malformed)?;
        let mut reader = Reader::new(prefix, prefix[0]).ok_or_else(malformed)?;
        reader.position = 4;
        let body = reader.number();
        reader.position = 12;
        let fields = reader.number();
        let (Some(body), Some(fields)) = (body, fields) else { return Err(malformed()) };
        let length = (PREFIX as u64 + u64::from(fields)).next_multiple_of(8) + u64::from(body);
        match usize::try_from(length) {
            Ok(length) if length <= LONGEST && prefix[3] == 1 => Ok(length),
            Ok(_) if prefix[3] != 1 => Err(Error::new(format!("D-Bus protocol version {} is not known", prefix[3]))),
            _ => Err(Error::new(format!("a D-Bus message of {length} bytes is too long"))),
        }
    }

    /// The message that these bytes are, all of them.
    pub fn decode(bytes: &[u8]) -> Result<Message> {
        match Message::length(bytes)? {
            length if length == bytes.len() => decode(bytes).ok_or_else(malformed),
            _ => Err(malformed()),
        }
    }
}

fn malformed() -> Error {
    Error::new("the bus sent what is no D-Bus message")
}

fn decode(bytes: &[u8]) -> Option<Message> {
    let mut reader = Reader::new(bytes, bytes[0])?;
    reader.position = 8;
    let serial = reader.number()?;
    let Value::Array(_, fields) = reader.value("a(yv)", 0)? else { return None };
    reader.align(8)?;
    let kind = match bytes[1] {
        1 => Kind::Call,
        2 => Kind::Return,
        3 => Kind::Error,
        4 => Kind::Signal,
        _ => Kind::Unknown,
    };
    let mut message = Message { kind, serial, ..Message::default() };
    let mut signature = String::new();
    for field in fields {
        let Value::Struct(pair) = field else { return None };
        let [Value::Byte(code), Value::Variant(value)] = pair.as_slice() else { return None };
        let text = || value.text().map(str::to_owned);
        match (code, value.as_ref()) {
            (1, Value::ObjectPath(_)) => message.path = text(),
            (2, Value::String(_)) => message.interface = text(),
            (3, Value::String(_)) => message.member = text(),
            (4, Value::String(_)) => message.error_name = text(),
            (5, Value::Uint32(number)) => message.reply_serial = Some(*number),
            (6, Value::String(_)) => message.destination = text(),
            (7, Value::String(_)) => message.sender = text(),
            (8, Value::Signature(_)) => signature = text()?,
            (1..=8, _) => return None,
            // "Unknown fields must be ignored."
            _ => {}
        }
    }
    let mut body = Reader::new(&bytes[reader.position..], bytes[0])?;
    let mut rest = signature.as_str();
    while !rest.is_empty() {
        let (first, others) = split_type(rest)?;
        message.body.push(body.value(first, 0)?);
        rest = others;
    }
    (body.position == body.bytes.len()).then_some(message)
}

/// Where a value of this type begins: at a multiple of this number.
fn alignment(signature: &str) -> usize {
    match signature.as_bytes().first() {
        Some(b'n' | b'q') => 2,
        Some(b'b' | b'i' | b'u' | b's' | b'o' | b'a') => 4,
        Some(b'x' | b't' | b'd' | b'(' | b'{') => 8,
        _ => 1,
    }
}

#[derive(Default)]
struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    fn align(&mut self, to: usize) {
        self.bytes.resize(self.bytes.len().next_multiple_of(to), 0);
    }

    fn aligned(&mut self, bytes: &[u8]) {
        self.align(bytes.len());
        self.bytes.extend(bytes);
    }

    fn string(&mut self, text: &str) {
        self.aligned(&(text.len() as u32).to_le_bytes());
        self.bytes.extend(text.as_bytes());
        self.bytes.push(0);
    }

    fn signature(&mut self, signature: &str) {
        self.bytes.push(signature.len() as u8);
        self.bytes.extend(signature.as_bytes());
        self.bytes.push(0);
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Byte(number) => self.bytes.push(*number),
            Value::Boolean(truth) => self.aligned(&u32::from(*truth).to_le_bytes()),
            Value::Int16(number) => self.aligned(&number.to_le_bytes()),
            Value::Uint16(number) => self.aligned(&number.to_le_bytes()),
            Value::Int32(number) => self.aligned(&number.to_le_bytes()),
            Value::Uint32(number) => self.aligned(&number.to_le_bytes()),
            Value::Int64(number) => self.aligned(&number.to_le_bytes()),
            Value::Uint64(number) => self.aligned(&number.to_le_bytes()),
            Value::Double(number) => self.aligned(&number.to_le_bytes()),
            Value::String(text) | Value::ObjectPath(text) => self.string(text),
            Value::Signature(signature) => self.signature(signature),
            Value::Array(element, elements) => {
                self.aligned(&[0; 4]);
                let length_at = self.bytes.len() - 4;
                // The padding before the first element does not count.
                self.align(alignment(element));
                let start = self.bytes.len();
                elements.iter().for_each(|element| self.value(element));
                let length = (self.bytes.len() - start) as u32;
                self.bytes[length_at..length_at + 4].copy_from_slice(&length.to_le_bytes());
            }
            Value::Struct(fields) => {
                self.align(8);
                fields.iter().for_each(|field| self.value(field));
            }
            Value::DictEntry(entry) => {
                self.align(8);
                self.value(&entry.0);
                self.value(&entry.1);
            }
            Value::Variant(value) => {
                self.signature(&value.signature());
                self.value(value);
            }
        }
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    position: usize,
    is_big: bool,
}

impl<'a> Reader<'a> {
    fn new(bytes: &'a [u8], endianness: u8) -> Option<Self> {
        let is_big = match endianness {
            b'l' => false,
            b'B' => true,
            _ => return None,
        };
        Some(Reader { bytes, position: 0, is_big })
    }

    fn align(&mut self, to: usize) -> Option<()> {
        let position = self.position.next_multiple_of(to);
        let padding = self.bytes.get(self.position..position)?;
        self.position = position;
        padding.iter().all(|byte| *byte == 0).then_some(())
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let taken = self.bytes.get(self.position..self.position.checked_add(length)?)?;
        self.position += length;
        Some(taken)
    }

    /// A number of N bytes, in the order of this machine's little-endian functions.
    fn aligned<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.align(N)?;
        let mut bytes: [u8; N] = self.take(N)?.try_into().ok()?;
        if self.is_big {
            bytes.reverse();
        }
        Some(bytes)
    }

    fn number(&mut self) -> Option<u32> {
        self.aligned().map(u32::from_le_bytes)
    }

    fn text(&mut self, length: usize) -> Option<String> {
        let text = std::str::from_utf8(self.take(length)?).ok()?.to_owned();
        (self.take(1)? == [0] && !text.contains('\0')).then_some(text)
    }

    fn string(&mut self) -> Option<String> {
        let length = self.number()? as usize;
        self.text(length)
    }

    fn signature(&mut self) -> Option<String> {
        let length = usize::from(*self.take(1)?.first()?);
        self.text(length)
    }

    /// A value of one complete type. Variants can nest without end in a type of one letter, so the depth is counted.
    fn value(&mut self, signature: &str, depth: usize) -> Option<Value> {
        if depth > 2 * DEEPEST {
            return None;
        }
        Some(match signature.as_bytes().first()? {
            b'y' => Value::Byte(*self.take(1)?.first()?),
            b'b' => match self.number()? {
                0 => Value::Boolean(false),
                1 => Value::Boolean(true),
                _ => return None,
            },
            b'n' => Value::Int16(self.aligned().map(i16::from_le_bytes)?),
            b'q' => Value::Uint16(self.aligned().map(u16::from_le_bytes)?),
            b'i' => Value::Int32(self.aligned().map(i32::from_le_bytes)?),
            b'u' => Value::Uint32(self.number()?),
            b'x' => Value::Int64(self.aligned().map(i64::from_le_bytes)?),
            b't' => Value::Uint64(self.aligned().map(u64::from_le_bytes)?),
            b'd' => Value::Double(self.aligned().map(f64::from_le_bytes)?),
            b's' => Value::String(self.string()?),
            b'o' => Value::ObjectPath(self.string()?),
            b'g' => Value::Signature(self.signature()?),
            b'a' => self.array(&signature[1..], depth)?,
            b'(' => {
                self.align(8)?;
                Value::Struct(self.values(&signature[1..signature.len() - 1], depth)?)
            }
            b'{' => {
                self.align(8)?;
                let mut pair = self.values(&signature[1..signature.len() - 1], depth)?.into_iter();
                Value::DictEntry(Box::new((pair.next()?, pair.next()?)))
            }
            b'v' => {
                let inner = self.signature()?;
                let (only, "") = split_type(&inner)? else { return None };
                Value::Variant(Box::new(self.value(only, depth + 1)?))
            }
            _ => return None,
        })
    }

    fn values(&mut self, mut signature: &str, depth: usize) -> Option<Vec<Value>> {
        let mut values = Vec::new();
        while let Some((first, others)) = split_type(signature) {
            values.push(self.value(first, depth + 1)?);
            signature = others;
        }
        signature.is_empty().then_some(values)
    }

    fn array(&mut self, element: &str, depth: usize) -> Option<Value> {
        let length = self.number()? as usize;
        self.align(alignment(element))?;
        let end = self.position.checked_add(length).filter(|end| *end <= self.bytes.len())?;
        let mut elements = Vec::new();
        // Every type takes at least one byte, so this ends.
        while self.position < end {
            elements.push(self.value(element, depth + 1)?);
        }
        (self.position == end).then(|| Value::Array(element.to_owned(), elements))
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::{Just, Strategy, any, prop_assert_eq, prop_oneof, proptest};

    use super::*;

    const CALL: &[u8] = include_bytes!("../../tests/fixtures/captured/dbus/start-transient-unit.bin");
    const REPLY: &[u8] = include_bytes!("../../tests/fixtures/captured/dbus/reply.bin");
    const SIGNAL: &[u8] = include_bytes!("../../tests/fixtures/captured/dbus/job-removed.bin");

    #[test]
    fn a_call_has_the_bytes_that_libsystemd_writes() {
        let property =
            |name: &str, value: Value| Value::Struct(vec![Value::string(name), Value::Variant(Box::new(value))]);
        let properties = vec![
            property("Description", Value::string("hello")),
            property("PIDs", Value::Array("u".into(), vec![Value::Uint32(240)])),
            property("Delegate", Value::Boolean(true)),
            property("MemoryMax", Value::Uint64(67_108_864)),
            property("AllowedCPUs", Value::Array("y".into(), vec![Value::Byte(3)])),
            property("DefaultDependencies", Value::Boolean(false)),
        ];
        let call = Message {
            serial: 2,
            sender: Some(":1.3".into()),
            ..Message::call(
                "org.freedesktop.systemd1",
                "/org/freedesktop/systemd1",
                "org.freedesktop.systemd1.Manager",
                "StartTransientUnit",
                vec![
                    Value::string("cap-1.scope"),
                    Value::string("replace"),
                    Value::Array("(sv)".into(), properties),
                    Value::Array("(sa(sv))".into(), Vec::new()),
                ],
            )
        };
        let mut bytes = call.encode();
        assert_eq!(Message::decode(&bytes).expect("it is a message"), call);
        bytes[2] = 4; // ALLOW_INTERACTIVE_AUTHORIZATION, which busctl sets
        assert_eq!(bytes, CALL);
    }

    #[test]
    fn what_systemd_sends_is_understood() {
        let reply = Message::decode(REPLY).expect("a reply");
        assert_eq!((reply.kind, reply.reply_serial), (Kind::Return, Some(2)));
        assert_eq!(reply.body, [Value::ObjectPath("/org/freedesktop/systemd1/job/70".into())]);
        let signal = Message::decode(SIGNAL).expect("a signal");
        assert_eq!((signal.kind, signal.member.as_deref()), (Kind::Signal, Some("JobRemoved")));
        assert_eq!(signal.sender.as_deref(), Some(":1.1"));
        assert_eq!(
            signal.body[1..],
            [
                Value::ObjectPath("/org/freedesktop/systemd1/job/70".into()),
                Value::string("cap-1.scope"),
                Value::string("done"),
            ]
        );
    }

    #[test]
    fn big_endian_is_read() {
        let bytes = [
            b'B', 2, 0, 1, 0, 0, 0, 4, 0, 0, 0, 9, 0, 0, 0, 15, // return, 4 bytes of body, serial 9, 15 of fields
            5, 1, b'u', 0, 0, 0, 0, 7, // reply serial 7
            8, 1, b'g', 0, 1, b'u', 0, 0, // signature u
            0, 0, 1, 0,
        ];
        let message = Message::decode(&bytes).expect("a message");
        assert_eq!((message.serial, message.reply_serial, message.body), (9, Some(7), vec![Value::Uint32(256)]));
    }

    #[test]
    fn every_cut_and_every_flipped_bit_is_survived() {
        for bytes in [CALL, REPLY, SIGNAL] {
            for length in 0..bytes.len() {
                assert!(Message::decode(&bytes[..length]).is_err(), "{length}");
            }
            for bit in 0..bytes.len() * 8 {
                let mut changed = bytes.to_vec();
                changed[bit / 8] ^= 1 << (bit % 8);
                let _ = Message::decode(&changed);
            }
        }
    }

    #[test]
    fn what_is_too_long_is_refused_before_it_is_read() {
        let mut prefix = [0; PREFIX];
        prefix[..4].copy_from_slice(&[b'l', 2, 0, 1]);
        prefix[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
        prefix[12..].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(Message::length(&prefix).expect_err("it is long").headline().contains("too long"));
    }

    #[test]
    fn variants_in_variants_end_somewhere() {
        let mut value = Value::Byte(1);
        for _ in 0..1000 {
            value = Value::Variant(Box::new(value));
        }
        let message = Message { kind: Kind::Return, serial: 1, body: vec![value], ..Message::default() };
        assert!(Message::decode(&message.encode()).is_err());
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<u8>().prop_map(Value::Byte),
            any::<bool>().prop_map(Value::Boolean),
            any::<i16>().prop_map(Value::Int16),
            any::<u16>().prop_map(Value::Uint16),
            any::<i32>().prop_map(Value::Int32),
            any::<u32>().prop_map(Value::Uint32),
            any::<i64>().prop_map(Value::Int64),
            any::<u64>().prop_map(Value::Uint64),
            (-1e9f64..1e9).prop_map(Value::Double),
            "[a-zé]{0,9}".prop_map(Value::String),
            Just(Value::ObjectPath("/a/b".into())),
            Just(Value::Signature("a(sv)".into())),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                (inner.clone(), 0..4usize).prop_map(|(one, n)| Value::Array(one.signature(), vec![one; n])),
                vec(inner.clone(), 1..4).prop_map(Value::Struct),
                (inner.clone(), inner.clone()).prop_map(|(key, value)| Value::DictEntry(Box::new((key, value)))),
                inner.prop_map(|one| Value::Variant(Box::new(one))),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_message_comes_back(body in vec(value(), 0..4), serial in 1..u32::MAX) {
            let message = Message { serial, body, ..Message::call("a.b", "/c", "d.e", "F", Vec::new()) };
            prop_assert_eq!(Message::decode(&message.encode()).expect("a message"), message);
        }

        #[test]
        fn any_bytes_are_survived(bytes in vec(any::<u8>(), 0..300)) {
            let _ = Message::decode(&bytes);
        }

        #[test]
        fn any_body_under_any_signature_is_survived(signature in "[ybnqiuxtdsogva(){}]{0,12}", body in vec(any::<u8>(), 0..80)) {
            let mut reader = Reader::new(&body, b'l').expect("little-endian");
            let _ = reader.values(&signature, 0);
        }
    }
}
