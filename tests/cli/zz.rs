//! Sorted last, so that it starts last: the count of the tests that were skipped.

use std::io::Write;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use crate::support::{ACTIVE, SKIPPED};

#[test]
fn the_number_of_skips_is_printed() {
    // The others have started by now, but may still wait for their turn.
    std::thread::sleep(Duration::from_millis(100));
    while ACTIVE.load(SeqCst) > 0 {
        std::thread::sleep(Duration::from_millis(20));
    }
    let _ = writeln!(std::io::stderr(), "number of skips: {}", SKIPPED.load(SeqCst));
}
