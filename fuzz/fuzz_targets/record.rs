//! The record of a container on disk: damaged, it is an error; read, it is written as it was. And the document of `update`.
#![no_main]

use minicon::config;
use minicon::container::Record;

libfuzzer_sys::fuzz_target!(|text: &[u8]| {
    let _ = config::parse_resources(text);
    let Ok(record) = serde_json::from_slice::<Record>(text) else { return };
    let written = serde_json::to_vec(&record).expect("it can be written");
    let read: Record = serde_json::from_slice(&written).expect("it can be read again");
    assert_eq!(serde_json::to_vec(&read).expect("written"), written);
});
