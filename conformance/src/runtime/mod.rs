//! runtime.md: state, lifecycle and operations.

use crate::row::Row;

mod create;
mod delete;
mod errors;
mod operations;
mod state;

/// The chapters.
pub const CHAPTERS: &[&[Row]] = &[state::TESTS, create::TESTS, operations::TESTS, delete::TESTS, errors::TESTS];
