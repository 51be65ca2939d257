//! What a bus sends: a message or an error; a message that was read is written and read as the same.
#![no_main]

use minicon::dbus::message::Message;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = Message::length(bytes);
    let Ok(message) = Message::decode(bytes) else { return };
    let written = message.encode();
    let read = Message::decode(&written).expect("what we write can be read");
    assert_eq!(read.encode(), written);
});
