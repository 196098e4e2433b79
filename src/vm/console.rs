//! What a guest has said on its console, and what programs have said in their logs.
//!
//! Owns reading files that grow, a piece at a time: neither is ever held as a whole.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What the agent prints once it listens, whatever on (guest-agent/src/server.rs): the guest's driver is up by then.
const AGENT_LISTENS: &[u8] = b"smolvm-guest-agent: listening on ";
/// The most that is read of a console at a time.
const PIECE_BYTES: u64 = 64 * 1024;
/// The most that is looked at for the last lines of a log.
const TAIL_BYTES: u64 = 16 * 1024;
/// How many lines are shown.
const TAIL_LINES: usize = 8;
/// What a kernel says when it gives up (kernel/panic.c); what led to it comes before, and after it come registers.
const PANIC: &str = "Kernel panic - not syncing";

/// A console that is being watched.
#[derive(Debug)]
pub(super) struct Console {
    path: PathBuf,
    read_bytes: u64,
    window: Vec<u8>,
    agent_listens: bool,
    last_said: Option<Instant>,
}

impl Console {
    pub(super) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            read_bytes: 0,
            window: Vec::new(),
            agent_listens: false,
            last_said: None,
        }
    }

    /// Looks at what has come since the last time.
    pub(super) fn look(&mut self) {
        let mut piece = Vec::new();
        let read = File::open(&self.path).and_then(|mut file| {
            file.seek(SeekFrom::Start(self.read_bytes))?;
            file.take(PIECE_BYTES).read_to_end(&mut piece)
        });
        self.read_bytes += read.unwrap_or(0) as u64;
        if !piece.is_empty() {
            self.last_said = Some(Instant::now());
        }
        self.window.extend(piece);
        let mut windows = self.window.windows(AGENT_LISTENS.len());
        self.agent_listens |= windows.any(|window| window == AGENT_LISTENS);
        let kept = self.window.len().saturating_sub(AGENT_LISTENS.len() - 1);
        self.window.drain(..kept);
    }

    /// Whether the guest has said anything.
    pub(super) fn has_begun(&self) -> bool {
        self.read_bytes > 0
    }

    /// Whether the guest has said something, and then nothing for so long.
    pub(super) fn is_silent_for(&self, span: Duration) -> bool {
        self.last_said.is_some_and(|last| last.elapsed() >= span)
    }

    /// Whether the agent has said that it listens.
    pub(super) fn agent_has_listened(&self) -> bool {
        self.agent_listens
    }
}

/// A log's last lines as text; empty where there are none.
pub(super) fn end_of(log: &Path) -> String {
    tail(log).unwrap_or_default()
}

/// The last lines of each log, each under its name, ready to follow a sentence; empty where none has
/// any.
pub(super) fn last_lines(logs: &[(&str, &Path)]) -> String {
    let mut shown = String::new();
    for (name, path) in logs {
        let text = tail(path).unwrap_or_default();
        let lines: Vec<&str> = text
            .lines()
            .filter(|line| !line.trim().is_empty())
            .collect();
        let end = lines
            .iter()
            .position(|line| line.contains(PANIC))
            .map_or(lines.len(), |panic| panic + 1);
        for line in &lines[end.saturating_sub(TAIL_LINES)..end] {
            shown.push_str(&format!("\n  {name}: {}", line.trim_end()));
        }
    }
    if !shown.is_empty() {
        shown.insert(0, ':');
    }
    shown
}

/// A log's end as text without control characters, which a guest could use to play with a terminal.
fn tail(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
    let mut bytes = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    Ok(text
        .chars()
        .filter(|c| !c.is_control() || *c == '\n')
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marker_is_found_across_two_looks() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c");
        let mut console = Console::new(&path);
        console.look();
        assert!(!console.has_begun() && !console.is_silent_for(Duration::ZERO));
        std::fs::write(&path, "boot\r\nsmolvm-guest-agent: list").unwrap();
        console.look();
        assert!(console.has_begun() && !console.agent_has_listened());
        assert!(console.is_silent_for(Duration::ZERO));
        assert!(!console.is_silent_for(Duration::from_secs(3600)));
        std::fs::write(
            &path,
            "boot\r\nsmolvm-guest-agent: listening on inherited descriptor 4\r\n",
        )
        .unwrap();
        console.look();
        assert!(console.agent_has_listened());
    }

    #[test]
    fn last_lines_are_few_and_without_control_characters() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("l");
        let lines: String = (0..100)
            .map(|n| format!("\x1b[31mline {n}\r\n\n"))
            .collect();
        std::fs::write(&path, lines).unwrap();
        let shown = last_lines(&[("qemu", &path), ("console", Path::new("/nowhere"))]);
        assert_eq!(shown.lines().count(), TAIL_LINES + 1);
        assert!(shown.ends_with("\n  qemu: [31mline 99"));
    }

    #[test]
    fn lines_that_are_shown_of_a_panic_are_those_that_led_to_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("l");
        let registers = "[    8.44] RSP: 002b:00007ffcb825f868 EFLAGS: 00000246\n".repeat(30);
        std::fs::write(
            &path,
            format!(
                "my init says: broken\n[    8.43] {PANIC}: Attempted to kill init!\n{registers}"
            ),
        )
        .unwrap();
        let shown = last_lines(&[("console", &path)]);
        assert!(
            shown.starts_with(":\n  console: my init says: broken\n"),
            "{shown}"
        );
        assert!(shown.ends_with("Attempted to kill init!"), "{shown}");
    }
}
