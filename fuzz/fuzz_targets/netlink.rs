//! Answers of the kernel, cut or garbled: messages and attributes, or an error.
#![no_main]

use minicon::netlink::message::{attributes, number, replies, text};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(replies) = replies(bytes) else { return };
    for reply in replies {
        for fixed in [0, 4, 8, 16] {
            for (_, value) in attributes(reply.body, fixed).unwrap_or_default() {
                let _ = (number(value, 0), text(value), attributes(value, 0));
            }
        }
    }
});
