//! `connect`: a stream to a socket in the guest.
//!
//! Owns the way from a [`StreamTarget`] to a stream that is open, or to the agent's refusal. What goes through it then
//! is [`super::relay`]'s.

use super::exchange::{Exchange, Message, refusal, unexpected};
use super::{Channel, ChannelError};
use crate::cancel::Cancel;
use crate::deadline::Deadline;
use crate::transport::{Absence, TransportError};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use smolvm_protocol::frame::FrameType;
use smolvm_protocol::request::{ConnectRequest, Request, Target as StreamTarget};
use std::os::fd::BorrowedFd;

/// A stream that the agent has opened, and that nothing went through yet.
pub(crate) struct OpenStream {
    pub(super) exchange: Exchange,
    pub(super) cancel: Cancel,
}

impl Channel {
    /// Opens a stream to a socket in the guest, waiting while the agent carries as many as it can. Where `client` is what
    /// it is for, and breaks meanwhile, there is none.
    ///
    /// # Errors
    /// [`ChannelError`]; [`ChannelError::Refused`] where the target does not let the agent connect.
    pub(crate) fn open_stream(
        &self,
        to: &StreamTarget,
        client: Option<BorrowedFd<'_>>,
        deadline: Deadline,
    ) -> Result<Option<OpenStream>, ChannelError> {
        let request = Request::Connect(ConnectRequest { to: to.clone() });
        let exchange = self.begin(&request, Absence::IsAnError, deadline)?;
        let mut stream = OpenStream {
            exchange,
            cancel: self.cancel.clone(),
        };
        match stream.answer(client, deadline) {
            Ok(true) => Ok(Some(stream)),
            Ok(false) => {
                stream.exchange.hang_up();
                Ok(None)
            }
            Err(error @ ChannelError::Refused { .. }) => Err(error),
            Err(error) => {
                stream.exchange.hang_up();
                Err(error)
            }
        }
    }
}

impl OpenStream {
    /// Waits for the agent's answer; false where the client broke before it came.
    fn answer(
        &mut self,
        client: Option<BorrowedFd<'_>>,
        deadline: Deadline,
    ) -> Result<bool, ChannelError> {
        let Some(client) = client else {
            return self.exchange.answer(deadline).map(|_| true);
        };
        loop {
            match self.exchange.message()? {
                Some(Message::Control(answer)) if answer.ok => return Ok(true),
                Some(Message::Control(answer)) => return Err(refusal(*answer)),
                Some(Message::Bytes(frame_type, _)) => return Err(unexpected(frame_type)),
                Some(Message::EndOfFile) => return Err(unexpected(FrameType::EOF)),
                Some(Message::Credit(_) | Message::Entry(_)) => {
                    return Err(unexpected(FrameType::JSON));
                }
                None => {}
            }
            if !self.wait_for_answer(client)? {
                return Ok(false);
            }
            self.exchange.fill()?;
        }
    }

    /// Waits for bytes of the agent's; false where the client broke.
    fn wait_for_answer(&self, client: BorrowedFd<'_>) -> Result<bool, ChannelError> {
        let mut watches_client = true;
        loop {
            let mut fds = [
                PollFd::new(&self.cancel, PollFlags::IN),
                PollFd::from_borrowed_fd(self.exchange.socket(), PollFlags::IN),
                PollFd::from_borrowed_fd(client, PollFlags::empty()),
            ];
            let watched = match watches_client {
                true => &mut fds[..],
                false => &mut fds[..2],
            };
            match poll(watched, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => {
                    let source = Some(errno.into());
                    return Err(TransportError::Closed { source }.into());
                }
            }
            let [cancel, agent, client] = fds.map(|fd| fd.revents());
            if !cancel.is_empty() {
                return Err(ChannelError::Cancelled);
            }
            if client.contains(PollFlags::ERR) {
                return Ok(false);
            }
            if !agent.is_empty() {
                return Ok(true);
            }
            // A Unix socket that was closed may have bytes for the target still, and would be told of for ever.
            watches_client &= client.is_empty();
        }
    }
}
