//! The MUSTs of the OCI runtime specification as black-box tests of any runtime binary.
//!
//! A test is a [`Row`](row::Row): an id, a place in the specification, the sentences that it proves, and a function that
//! drives the runtime through its command line and judges what the probe inside the container, or the kernel, reports.
//! One file a chapter; nothing here knows any runtime's inside.
//!
//! Where a runtime fails together with all others, its line still names the sentence that the test rests on.
//!
//! `spec/sentences.tsv` holds every normative sentence of the documents. Each is quoted by a test or has a reason why
//! none can be; `spec` checks that, and checks both against a checkout of the specification.

pub mod call;
pub mod container;
pub mod coverage;
pub mod host;
pub mod judge;
pub mod lab;
pub mod row;
pub mod runner;
pub mod spec;

pub mod bundle;
pub mod config;
pub mod features;
pub mod linux;
pub mod runtime;
pub mod runtime_linux;
pub mod tools;

use row::Row;

/// Every test, chapter by chapter.
pub fn tests() -> impl Iterator<Item = &'static Row> {
    let chapters: [&'static [&'static [Row]]; 3] = [config::CHAPTERS, linux::CHAPTERS, runtime::CHAPTERS];
    let rest: [&'static [Row]; 3] = [bundle::TESTS, runtime_linux::TESTS, features::TESTS];
    rest.into_iter().chain(chapters.into_iter().flatten().copied()).flatten()
}
