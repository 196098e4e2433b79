//! A verb's own result on standard output.

use crate::failure::Failure;
use std::io::{self, Write};

/// Writes a verb's own result as one line.
pub(crate) fn print_line(line: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout();
    writeln!(stdout, "{line}")
        .and_then(|()| stdout.flush())
        .map_err(Failure::output)
}
