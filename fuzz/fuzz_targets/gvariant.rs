//! Annotations that are properties of a systemd unit: a value or what is wrong; and values have one complete type.
#![no_main]

use minicon::plan::gvariant::parse;
use minicon::plan::lists::Mask;
use minicon::plan::variant::split_type;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    let _ = Mask::parse(&text, 8191);
    let _ = split_type(&text);
    if let Ok(value) = parse(&text) {
        let signature = value.signature();
        assert_eq!(split_type(&signature), Some((signature.as_str(), "")), "{value:?}");
    }
});
