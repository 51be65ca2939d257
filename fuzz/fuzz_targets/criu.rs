//! What criu says: a response or an error.
#![no_main]

use minicon::criu::message::Response;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = Response::decode(bytes);
});
