//! A value with its type, as D-Bus sends it in a variant: what systemd takes as a unit's property.
//!
//! Types are written as the D-Bus specification writes them (Type System): `t` is a 64-bit number, `as` an array of
//! strings, `(so)` a structure. A value prints as GVariant text, which is also what an annotation gives, see `gvariant.rs`.

use std::fmt::{self, Display, Formatter};

/// A value of a D-Bus type. File descriptors are not among them: nobody here sends one.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub enum Value {
    Byte(u8),
    Boolean(bool),
    Int16(i16),
    Uint16(u16),
    Int32(i32),
    Uint32(u32),
    Int64(i64),
    Uint64(u64),
    Double(f64),
    String(String),
    ObjectPath(String),
    Signature(String),
    /// The type of the elements, which an empty array has too, and the elements.
    Array(String, Vec<Value>),
    Struct(Vec<Value>),
    DictEntry(Box<(Value, Value)>),
    Variant(Box<Value>),
}

/// How deep types may be nested: the specification's limit for arrays and for structures.
pub const DEEPEST: usize = 32;

impl Value {
    /// A string.
    pub fn string(text: impl Into<String>) -> Value {
        Value::String(text.into())
    }

    /// An array of strings.
    pub fn strings<'a>(texts: impl IntoIterator<Item = &'a str>) -> Value {
        Value::Array("s".to_owned(), texts.into_iter().map(Value::string).collect())
    }

    /// The text of a string, an object path or a signature.
    pub fn text(&self) -> Option<&str> {
        match self {
            Value::String(text) | Value::ObjectPath(text) | Value::Signature(text) => Some(text),
            _ => None,
        }
    }

    /// The type.
    pub fn signature(&self) -> String {
        match self {
            Value::Byte(_) => "y".to_owned(),
            Value::Boolean(_) => "b".to_owned(),
            Value::Int16(_) => "n".to_owned(),
            Value::Uint16(_) => "q".to_owned(),
            Value::Int32(_) => "i".to_owned(),
            Value::Uint32(_) => "u".to_owned(),
            Value::Int64(_) => "x".to_owned(),
            Value::Uint64(_) => "t".to_owned(),
            Value::Double(_) => "d".to_owned(),
            Value::String(_) => "s".to_owned(),
            Value::ObjectPath(_) => "o".to_owned(),
            Value::Signature(_) => "g".to_owned(),
            Value::Array(element, _) => format!("a{element}"),
            Value::Struct(fields) => format!("({})", fields.iter().map(Value::signature).collect::<String>()),
            Value::DictEntry(entry) => format!("{{{}{}}}", entry.0.signature(), entry.1.signature()),
            Value::Variant(_) => "v".to_owned(),
        }
    }
}

/// Splits the first complete type off a signature. None if there is none, or if it is nested too deep.
pub fn split_type(signature: &str) -> Option<(&str, &str)> {
    let length = type_length(signature.as_bytes(), 0)?;
    signature.split_at_checked(length)
}

fn type_length(signature: &[u8], depth: usize) -> Option<usize> {
    if depth > DEEPEST {
        return None;
    }
    match signature.first()? {
        b'y' | b'b' | b'n' | b'q' | b'i' | b'u' | b'x' | b't' | b'd' | b's' | b'o' | b'g' | b'v' => Some(1),
        b'a' => Some(1 + type_length(&signature[1..], depth + 1)?),
        open @ (b'(' | b'{') => {
            let close = if *open == b'(' { b')' } else { b'}' };
            let (mut length, mut fields) = (1, 0);
            while *signature.get(length)? != close {
                length += type_length(&signature[length..], depth + 1)?;
                fields += 1;
            }
            // A structure has fields, a dictionary entry a key and a value.
            let well_formed = if *open == b'(' { fields > 0 } else { fields == 2 };
            well_formed.then_some(length + 1)
        }
        _ => None,
    }
}

impl Display for Value {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Value::Byte(number) => write!(f, "byte {number}"),
            Value::Boolean(truth) => truth.fmt(f),
            Value::Int16(number) => write!(f, "int16 {number}"),
            Value::Uint16(number) => write!(f, "uint16 {number}"),
            Value::Int32(number) => number.fmt(f),
            Value::Uint32(number) => write!(f, "uint32 {number}"),
            Value::Int64(number) => write!(f, "int64 {number}"),
            Value::Uint64(number) => write!(f, "uint64 {number}"),
            Value::Double(number) => write!(f, "{number:?}"),
            Value::String(text) => quote(f, text),
            Value::ObjectPath(path) => write!(f, "objectpath ").and_then(|()| quote(f, path)),
            Value::Signature(signature) => write!(f, "signature ").and_then(|()| quote(f, signature)),
            Value::Array(element, elements) if elements.is_empty() => write!(f, "@a{element} []"),
            Value::Array(_, elements) => list(f, '[', elements, "]"),
            Value::Struct(fields) => list(f, '(', fields, if fields.len() == 1 { ",)" } else { ")" }),
            Value::DictEntry(entry) => write!(f, "{{{}, {}}}", entry.0, entry.1),
            Value::Variant(value) => write!(f, "<{value}>"),
        }
    }
}

fn quote(f: &mut Formatter<'_>, text: &str) -> fmt::Result {
    write!(f, "'{}'", text.escape_debug().to_string().replace("\\\"", "\""))
}

fn list(f: &mut Formatter<'_>, open: char, values: &[Value], close: &str) -> fmt::Result {
    write!(f, "{open}")?;
    for (index, value) in values.iter().enumerate() {
        let comma = if index == 0 { "" } else { ", " };
        write!(f, "{comma}{value}")?;
    }
    f.write_str(close)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_split_off() {
        for (signature, first) in [("s", "s"), ("ssa(sv)", "s"), ("a(sa(sv))u", "a(sa(sv))"), ("a{sv}as", "a{sv}")] {
            assert_eq!(split_type(signature), Some((first, &signature[first.len()..])));
        }
        for bad in ["", "a", "(", "()", "(s", "{s}", "{sss}", "h", "z", ")", "é"] {
            assert_eq!(split_type(bad), None, "{bad:?}");
        }
        assert!(split_type(&format!("{}s", "a".repeat(32))).is_some());
        assert!(split_type(&format!("{}s", "a".repeat(33))).is_none());
    }

    #[test]
    fn a_value_prints_as_gvariant_text() {
        let value = Value::Struct(vec![
            Value::strings(["a'b", "c"]),
            Value::Array("y".into(), Vec::new()),
            Value::Variant(Box::new(Value::Uint64(5))),
            Value::Double(1.0),
        ]);
        assert_eq!(value.to_string(), r"(['a\'b', 'c'], @ay [], <uint64 5>, 1.0)");
        assert_eq!(value.signature(), "(asayvd)");
    }
}
