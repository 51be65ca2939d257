//! DECIDE what a text of an annotation means as a typed value: the useful part of GVariant's text format.
//!
//! Understood are numbers, booleans, strings, arrays `[…]`, tuples `(…)`, variants `<…>`, and a type in front of any of
//! them, as a word (`uint64 5`) or as a signature (`@as []`). A number without a type is an int32, or a double if it has
//! a point or an exponent. Not understood: dictionaries, byte strings, maybe types.

use super::variant::{DEEPEST, Value, split_type};

/// The value that a text describes, or what is wrong with it.
pub fn parse(text: &str) -> Result<Value, String> {
    let mut parser = Parser { rest: text };
    let value = parser.value(None, 0)?;
    parser.skip_blanks();
    match parser.rest {
        "" => Ok(value),
        rest => Err(format!("{rest:?} follows the value")),
    }
}

struct Parser<'a> {
    rest: &'a str,
}

impl<'a> Parser<'a> {
    /// One value, of this type if one is given.
    fn value(&mut self, wanted: Option<&str>, depth: usize) -> Result<Value, String> {
        self.skip_blanks();
        if depth > DEEPEST {
            return Err("is nested too deep".to_owned());
        }
        let Some(first) = self.rest.chars().next() else { return Err("ends where a value should be".to_owned()) };
        match first {
            '\'' | '"' => as_text(self.quoted(first)?, wanted),
            '[' => self.array(wanted, depth),
            '(' => self.tuple(wanted, depth),
            '<' => {
                self.rest = &self.rest[1..];
                let value = self.value(None, depth + 1)?;
                self.expect('>')?;
                is_wanted(Value::Variant(Box::new(value)), wanted)
            }
            '@' => {
                self.rest = &self.rest[1..];
                let (signature, rest) = split_type(self.rest).ok_or("has no D-Bus type after @")?;
                self.rest = rest;
                self.typed(signature, wanted, depth)
            }
            '0'..='9' | '-' | '+' | '.' => as_number(self.word(), wanted),
            _ => self.named(wanted, depth),
        }
    }

    /// A boolean, a number in words, or a type's name and a value of it.
    fn named(&mut self, wanted: Option<&str>, depth: usize) -> Result<Value, String> {
        const TYPES: [(&str, &str); 12] = [
            ("boolean", "b"),
            ("byte", "y"),
            ("int16", "n"),
            ("uint16", "q"),
            ("int32", "i"),
            ("uint32", "u"),
            ("int64", "x"),
            ("uint64", "t"),
            ("double", "d"),
            ("string", "s"),
            ("objectpath", "o"),
            ("signature", "g"),
        ];
        let word = self.word();
        match word {
            "true" => is_wanted(Value::Boolean(true), wanted),
            "false" => is_wanted(Value::Boolean(false), wanted),
            "inf" | "nan" => is_wanted(Value::Double(if word == "inf" { f64::INFINITY } else { f64::NAN }), wanted),
            _ => match TYPES.iter().find(|(name, _)| *name == word) {
                Some((_, signature)) => self.typed(signature, wanted, depth),
                None if word.is_empty() => Err(format!("has {:?} where a value should be", self.rest)),
                None => Err(format!("has {word:?}, which is neither a value nor a type; a string needs quotes")),
            },
        }
    }

    fn typed(&mut self, signature: &str, wanted: Option<&str>, depth: usize) -> Result<Value, String> {
        let value = self.value(Some(signature), depth + 1)?;
        is_wanted(value, wanted)
    }

    fn array(&mut self, wanted: Option<&str>, depth: usize) -> Result<Value, String> {
        self.rest = &self.rest[1..];
        let mut element = match wanted {
            Some(signature) => {
                Some(signature.strip_prefix('a').ok_or(format!("is an array, not {signature}"))?.to_owned())
            }
            None => None,
        };
        let mut elements = Vec::new();
        while !self.take(']') {
            if !elements.is_empty() {
                self.expect(',')?;
            }
            let value = self.value(element.as_deref(), depth + 1)?;
            element.get_or_insert_with(|| value.signature());
            elements.push(value);
        }
        let element = element.ok_or("is an empty array, which needs its type: @as []")?;
        Ok(Value::Array(element, elements))
    }

    fn tuple(&mut self, wanted: Option<&str>, depth: usize) -> Result<Value, String> {
        self.rest = &self.rest[1..];
        let mut types = match wanted {
            Some(signature) => {
                let inner = signature.strip_prefix('(').and_then(|rest| rest.strip_suffix(')'));
                Some(inner.ok_or(format!("is a tuple, not {signature}"))?)
            }
            None => None,
        };
        let mut fields = Vec::new();
        while !self.take(')') {
            if !fields.is_empty() {
                self.expect(',')?;
                if self.take(')') {
                    break;
                }
            }
            let field = match types {
                Some(signature) => {
                    let (field, others) = split_type(signature).ok_or("has too many fields in a tuple")?;
                    types = Some(others);
                    Some(field)
                }
                None => None,
            };
            fields.push(self.value(field, depth + 1)?);
        }
        match types {
            Some(missing) if !missing.is_empty() => Err("has too few fields in a tuple".to_owned()),
            _ if fields.is_empty() => Err("has an empty tuple, which D-Bus does not know".to_owned()),
            _ => Ok(Value::Struct(fields)),
        }
    }

    /// What is between quotes. Backslashes as in C, with `\u` and `\U` of 4 and 8 digits.
    fn quoted(&mut self, quote: char) -> Result<String, String> {
        let mut text = String::new();
        let mut letters = self.rest.char_indices().skip(1);
        while let Some((at, letter)) = letters.next() {
            if letter == quote {
                self.rest = &self.rest[at + 1..];
                return Ok(text);
            }
            if letter != '\\' {
                text.push(letter);
                continue;
            }
            match letters.next().map(|(_, escaped)| escaped) {
                Some(code @ ('u' | 'U')) => {
                    let length = if code == 'u' { 4 } else { 8 };
                    let digits: String = letters.by_ref().take(length).map(|(_, digit)| digit).collect();
                    let number = u32::from_str_radix(&digits, 16).ok().filter(|_| digits.len() == length);
                    text.push(number.and_then(char::from_u32).ok_or(format!("has a bad escape \\{code}{digits}"))?);
                }
                Some(escaped) => text.push(match escaped {
                    'a' => '\x07',
                    'b' => '\x08',
                    'f' => '\x0c',
                    'n' => '\n',
                    'r' => '\r',
                    't' => '\t',
                    'v' => '\x0b',
                    other => other,
                }),
                None => break,
            }
        }
        Err("has a string without an end".to_owned())
    }

    fn word(&mut self) -> &'a str {
        let is_part = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '+' | '-' | '.' | '_');
        let end = self.rest.find(|letter| !is_part(letter)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word
    }

    fn skip_blanks(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn take(&mut self, letter: char) -> bool {
        self.skip_blanks();
        match self.rest.strip_prefix(letter) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, letter: char) -> Result<(), String> {
        match self.take(letter) {
            true => Ok(()),
            false => Err(format!("has {:?} where {letter:?} should be", self.rest)),
        }
    }
}

fn is_wanted(value: Value, wanted: Option<&str>) -> Result<Value, String> {
    match wanted {
        Some(wanted) if value.signature() != wanted => Err(format!("has {value} where the type is {wanted}")),
        _ => Ok(value),
    }
}

fn as_text(text: String, wanted: Option<&str>) -> Result<Value, String> {
    if text.contains('\0') {
        return Err("has a NUL in a string".to_owned());
    }
    match wanted {
        None | Some("s") => Ok(Value::String(text)),
        Some("o") if is_object_path(&text) => Ok(Value::ObjectPath(text)),
        Some("g") if is_signature(&text) => Ok(Value::Signature(text)),
        Some(wanted) => Err(format!("has {text:?} where the type is {wanted}")),
    }
}

fn is_object_path(text: &str) -> bool {
    let is_name = |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    text == "/" || text.strip_prefix('/').is_some_and(|path| path.split('/').all(is_name))
}

fn is_signature(mut text: &str) -> bool {
    let length = text.len();
    while let Some((_, rest)) = split_type(text) {
        text = rest;
    }
    text.is_empty() && length <= 255
}

fn as_number(word: &str, wanted: Option<&str>) -> Result<Value, String> {
    let digits = word.trim_start_matches(['+', '-']);
    let hexadecimal = digits.strip_prefix("0x");
    let is_double = hexadecimal.is_none() && digits.contains(['.', 'e', 'E']);
    let wanted = wanted.unwrap_or(if is_double { "d" } else { "i" });
    let failed = || match wanted {
        "i" => {
            format!("{word} is not an int32, which is meant without a type; write `uint64 {word}`, or the type it has")
        }
        wanted => format!("{word} is not of the type {wanted}"),
    };
    let number = || -> Option<i128> {
        let number = match hexadecimal {
            Some(digits) => i128::from(u64::from_str_radix(digits, 16).ok()?),
            None => i128::from(digits.parse::<u64>().ok()?),
        };
        Some(if word.starts_with('-') { -number } else { number })
    };
    let value = match wanted {
        "d" => word.parse().ok().filter(|number: &f64| number.is_finite()).map(Value::Double),
        "y" => number().and_then(|number| number.try_into().ok()).map(Value::Byte),
        "n" => number().and_then(|number| number.try_into().ok()).map(Value::Int16),
        "q" => number().and_then(|number| number.try_into().ok()).map(Value::Uint16),
        "i" => number().and_then(|number| number.try_into().ok()).map(Value::Int32),
        "u" => number().and_then(|number| number.try_into().ok()).map(Value::Uint32),
        "x" => number().and_then(|number| number.try_into().ok()).map(Value::Int64),
        "t" => number().and_then(|number| number.try_into().ok()).map(Value::Uint64),
        _ => None,
    };
    value.ok_or_else(failed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};

    use super::*;

    #[test]
    fn values() {
        for (text, value) in [
            ("'inactive-or-failed'", Value::string("inactive-or-failed")),
            (r#" "a\"b\n\u00e9" "#, Value::string("a\"b\né")),
            ("true", Value::Boolean(true)),
            ("boolean false", Value::Boolean(false)),
            ("5", Value::Int32(5)),
            ("-0x10", Value::Int32(-16)),
            ("uint64 18446744073709551615", Value::Uint64(u64::MAX)),
            ("@t 5", Value::Uint64(5)),
            ("int64 -9223372036854775808", Value::Int64(i64::MIN)),
            ("byte 255", Value::Byte(255)),
            ("1.5", Value::Double(1.5)),
            ("double 3", Value::Double(3.0)),
            ("['a.service', 'b']", Value::strings(["a.service", "b"])),
            ("@as []", Value::strings([])),
            ("[uint64 1, 2]", Value::Array("t".into(), vec![Value::Uint64(1), Value::Uint64(2)])),
            ("@ay [1, 0x02]", Value::Array("y".into(), vec![Value::Byte(1), Value::Byte(2)])),
            ("('a', uint32 1)", Value::Struct(vec![Value::string("a"), Value::Uint32(1)])),
            ("(1,)", Value::Struct(vec![Value::Int32(1)])),
            (
                "@a(su) [('x', 1)]",
                Value::Array("(su)".into(), vec![Value::Struct(vec![Value::string("x"), Value::Uint32(1)])]),
            ),
            ("<'x'>", Value::Variant(Box::new(Value::string("x")))),
            ("objectpath '/a/b'", Value::ObjectPath("/a/b".into())),
            ("signature 'a(sv)u'", Value::Signature("a(sv)u".into())),
        ] {
            assert_eq!(parse(text), Ok(value.clone()), "{text}");
            assert_eq!(parse(&value.to_string()), Ok(value), "what {text} prints as");
        }
    }

    #[test]
    fn mistakes_are_told() {
        for (text, message) in [
            ("", "ends where a value should be"),
            ("inactive", "a string needs quotes"),
            ("'open", "a string without an end"),
            ("5000000000", "write `uint64 5000000000`"),
            ("byte 256", "256 is not of the type y"),
            ("uint64 -1", "-1 is not of the type t"),
            ("uint64 'x'", "where the type is t"),
            ("[1, 'x']", "where the type is i"),
            ("[]", "@as []"),
            ("[1", "where ',' should be"),
            ("true false", "follows the value"),
            ("()", "empty tuple"),
            ("@(su) ('x',)", "too few fields"),
            ("@(s) ('x', 1)", "too many fields"),
            ("{'a': 1}", "where a value should be"),
            ("@ 5", "no D-Bus type"),
            ("1.2.3", "is not of the type d"),
            (r"'\u12'", "bad escape"),
            ("objectpath 'a//b'", "where the type is o"),
        ] {
            let told = parse(text).expect_err(text);
            assert!(told.contains(message), "{text}: {told}");
        }
        assert!(parse(&"[".repeat(1000)).expect_err("deep").contains("nested too deep"));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in any::<String>()) {
            let _ = parse(&text);
        }

        #[test]
        fn no_text_of_its_letters_makes_it_panic(text in "[]\\[()<>@'\\\\ua0-9., -]{0,40}") {
            let _ = parse(&text);
        }
    }
}
