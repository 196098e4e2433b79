//! A QEMU told what to do over its monitor socket, in QMP: a line of JSON each way.
//!
//! Owns the conversation and its limits; refuses to know why somebody wants to say what.

use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// How long QEMU may take for a word.
const WORD_LIMIT: Duration = Duration::from_secs(30);

/// The longest line that is read.
const MAX_LINE_BYTES: u64 = 64 * 1024;

/// Events and other lines that may come before a reply.
const MAX_LINES_BEFORE_REPLY: usize = 64;

/// The monitor of one QEMU.
pub(crate) struct Monitor {
    stream: BufReader<UnixStream>,
}

impl Monitor {
    /// Connects, and says what the protocol wants said first.
    pub(crate) fn connect(socket: &Path) -> Result<Self, String> {
        let open = || {
            let stream = UnixStream::connect(socket)?;
            stream.set_read_timeout(Some(WORD_LIMIT))?;
            stream.set_write_timeout(Some(WORD_LIMIT))?;
            Ok(stream)
        };
        let stream = open()
            .map_err(|error: std::io::Error| format!("monitor {}: {error}", socket.display()))?;
        let mut monitor = Self {
            stream: BufReader::new(stream),
        };
        monitor.execute("qmp_capabilities", json!({}))?;
        Ok(monitor)
    }

    /// Has QEMU do something, and gives what it returns.
    pub(crate) fn execute(&mut self, command: &str, arguments: Value) -> Result<Value, String> {
        let request = json!({"execute": command, "arguments": arguments});
        self.stream
            .get_mut()
            .write_all(format!("{request}\n").as_bytes())
            .map_err(|error| format!("{command}: {error}"))?;
        for _ in 0..MAX_LINES_BEFORE_REPLY {
            let mut reply = self.line().map_err(|error| format!("{command}: {error}"))?;
            if let Some(error) = reply.get("error") {
                return Err(format!("{command}: {}", error["desc"]));
            }
            if let Some(value) = reply.get_mut("return") {
                return Ok(value.take());
            }
        }
        Err(format!("{command}: no reply among so many lines"))
    }

    /// What a member of a query's result says.
    pub(crate) fn query(&mut self, command: &str, member: &str) -> Result<String, String> {
        let value = self.execute(command, json!({}))?;
        Ok(value[member].as_str().unwrap_or_default().to_owned())
    }

    fn line(&mut self) -> Result<Value, String> {
        let mut line = String::new();
        let stream = std::io::Read::by_ref(&mut self.stream);
        stream
            .take(MAX_LINE_BYTES)
            .read_line(&mut line)
            .map_err(|error| error.to_string())?;
        if line.is_empty() {
            return Err("QEMU has closed its monitor".to_owned());
        }
        serde_json::from_str(&line).map_err(|error| format!("{error} in '{}'", line.trim_end()))
    }
}
