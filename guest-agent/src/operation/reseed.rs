//! `reseed`: bytes of the host's make the guest's random numbers its own again; needs no permit.
//!
//! Guests that are restored from one file have the same generator in the same state, and would all make the same
//! keys.

use crate::sys::machine;
use smolvm_protocol::request::Entropy;
use smolvm_protocol::response::Response;
use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;

/// By two calls: what is added alone is used only when the kernel next reseeds, up to minutes later.
///
/// # Errors
/// There is no such device, or this is not permitted.
pub(crate) fn perform(entropy: &Entropy) -> io::Result<Response<'static>> {
    let random = File::open("/dev/urandom")?;
    machine::add_entropy(random.as_fd(), entropy.bytes(), true)?;
    machine::reseed(random.as_fd())?;
    Ok(Response::Reseeded)
}
