//! `toolmaster`: one binary, many names (SPEC 1).

pub mod stick;

use std::process::ExitCode;

/// Runs the command that the process was called as.
pub fn main() -> ExitCode {
    ExitCode::SUCCESS
}
