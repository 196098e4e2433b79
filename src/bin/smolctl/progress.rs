//! How far a transfer or a build has come, for somebody who watches a terminal.
//!
//! Owns the bar on standard error; where that is no terminal, nothing is shown. It is gone when its verb is
//! done, so that what stays on the screen is the verb's result.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::time::Duration;

/// How often a bar moves by itself.
const TICK: Duration = Duration::from_millis(100);

/// A bar that is gone once this is dropped.
pub(crate) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// The transfer of `total` bytes, or of who knows how many.
    pub(crate) fn of_bytes(total: Option<u64>) -> Self {
        let template = match total {
            Some(_) => "{wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}",
            None => "{spinner} {bytes} {bytes_per_sec} {wide_msg}",
        };
        Self::new(total, template)
    }

    /// Something that takes its time.
    pub(crate) fn of_work(what: &'static str) -> Self {
        let progress = Self::new(None, "{spinner} {msg} {elapsed}");
        progress.bar.set_message(what);
        progress
    }

    fn new(total: Option<u64>, template: &str) -> Self {
        if !std::io::stderr().is_terminal() {
            let bar = ProgressBar::hidden();
            return Self { bar };
        }
        let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.enable_steady_tick(TICK);
        Self { bar }
    }

    /// So many bytes have gone.
    pub(crate) fn set(&self, bytes: u64) {
        self.bar.set_position(bytes);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
