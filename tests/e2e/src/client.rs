//! One AF_VSOCK connection to an agent, byte by byte where a case wants that: the host library rightly refuses to
//! hang up in odd ways, to send what is no frame, and to connect to its own machine.

use crate::checksum::Checksum;
use smolvm_protocol::answer::Answer;
use smolvm_protocol::decoder::{Decoder, Event};
use smolvm_protocol::frame::{FrameType, encode_frame};
use smolvm_protocol::request::{Request, RunRequest, Shell};
use std::io::{self, Read as _, Write as _};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::time::Duration;
use vsock::VsockStream;

/// How long an agent may give or take nothing.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// The longest first line that is waited for.
const MAX_LINE_BYTES: usize = 256;

/// A connected client.
pub(crate) struct Client {
    stream: VsockStream,
    decoder: Decoder,
    /// What the frame under way is.
    frame_type: FrameType,
    control: Vec<u8>,
    received: Received,
}

/// What an agent has sent so far.
pub(crate) struct Received {
    /// Payloads of the control frames.
    pub(crate) control: Vec<Vec<u8>>,
    /// What came in frames of output and of data.
    pub(crate) content: Checksum,
    /// The first bytes of that.
    head: Vec<u8>,
    /// The type of the last frame that came whole.
    pub(crate) last: Option<FrameType>,
}

impl Received {
    /// The first bytes of output or data.
    pub(crate) fn head_text(&self) -> String {
        String::from_utf8_lossy(&self.head).into_owned()
    }

    /// The last control frame.
    pub(crate) fn answer(&self) -> Result<Answer, String> {
        let payload = self.control.last().ok_or("there is no answer")?;
        Answer::parse(payload).map_err(|error| error.to_string())
    }
}

impl Client {
    pub(crate) fn connect(cid: u32, port: u32) -> io::Result<Self> {
        Self::over(VsockStream::connect_with_cid_port(cid, port)?)
    }

    pub(crate) fn over(stream: VsockStream) -> io::Result<Self> {
        stream.set_read_timeout(Some(LIMIT))?;
        stream.set_write_timeout(Some(LIMIT))?;
        Ok(Self {
            stream,
            decoder: Decoder::new(),
            frame_type: FrameType::EOF,
            control: Vec::new(),
            received: Received {
                control: Vec::new(),
                content: Checksum::default(),
                head: Vec::new(),
                last: None,
            },
        })
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// What has come so far.
    pub(crate) fn received(&self) -> &Received {
        &self.received
    }

    /// Sends a request for a command line without login semantics.
    pub(crate) fn run(&mut self, line: &str) -> io::Result<()> {
        self.write(&frame_of(&Request::Run(RunRequest {
            command: line.as_bytes().to_vec(),
            shell: Shell::Raw,
            ..RunRequest::default()
        })))
    }

    /// Ends the sending side alone.
    pub(crate) fn half_close(&self) -> io::Result<()> {
        self.stream.shutdown(Shutdown::Write)
    }

    /// Sets how long [`Self::advance`] waits.
    pub(crate) fn wait_at_most(&self, limit: Duration) -> io::Result<()> {
        self.stream.set_read_timeout(Some(limit))
    }

    /// Takes what comes next; false at the stream's end.
    pub(crate) fn advance(&mut self) -> io::Result<bool> {
        let mut buffer = [0; 16 * 1024];
        let count = self.stream.read(&mut buffer)?;
        let mut input = &buffer[..count];
        while let Some(event) = self.decoder.next(&mut input).map_err(io::Error::other)? {
            match event {
                Event::Header(header) => self.frame_type = header.frame_type,
                Event::Payload(bytes) if self.frame_type == FrameType::JSON => {
                    self.control.extend_from_slice(bytes);
                }
                Event::Payload(bytes) => {
                    let missing = MAX_LINE_BYTES.saturating_sub(self.received.head.len());
                    let head = &bytes[..bytes.len().min(missing)];
                    self.received.head.extend_from_slice(head);
                    self.received.content.write_all(bytes)?;
                }
                Event::End => {
                    self.received.last = Some(self.frame_type);
                    if self.frame_type == FrameType::JSON {
                        let whole = std::mem::take(&mut self.control);
                        self.received.control.push(whole);
                    }
                }
            }
        }
        Ok(count > 0)
    }

    /// Takes what comes until that is so many bytes of output or data.
    pub(crate) fn receive_at_least(&mut self, bytes: u64) -> Result<(), String> {
        while self.received.content.bytes < bytes {
            if !self.advance().map_err(|error| error.to_string())? {
                return Err(format!("ended before {bytes} bytes"));
            }
        }
        Ok(())
    }

    /// The first line of output, once it is there, as a process id.
    pub(crate) fn first_pid(&mut self) -> Result<u32, String> {
        let failed = |what: &str| Err(format!("the first line of output: {what}"));
        loop {
            let head = String::from_utf8_lossy(&self.received.head);
            if let Some((line, _)) = head.split_once('\n') {
                return line.parse().or_else(|_| failed(&format!("'{line}'")));
            }
            if head.len() >= MAX_LINE_BYTES {
                return failed("too long");
            }
            match self.advance() {
                Ok(true) => {}
                Ok(false) => return failed("the stream ended"),
                Err(error) => return failed(&error.to_string()),
            }
        }
    }

    /// All that comes, until the agent ends its side.
    pub(crate) fn receive_all(mut self) -> io::Result<Received> {
        while self.advance()? {}
        Ok(self.received)
    }

    /// The socket, for another process to have.
    pub(crate) fn into_socket(self) -> OwnedFd {
        self.stream.into()
    }
}

/// A request as it is sent.
pub(crate) fn frame_of(request: &Request) -> Vec<u8> {
    encode_frame(FrameType::JSON, request.to_json().as_bytes())
}
