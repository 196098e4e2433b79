//! Reads many endless outputs, as one host that shows them all would.

use crate::competitor::Streams;
use crate::connection::READ_BYTES;
use anyhow::{Result, bail, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

/// How often it is seen whether to go on where nothing flows.
const LOOK: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 20_000_000,
};

/// Does something while all of the streams flow, and are read by one thread.
pub(crate) fn beside<T>(streams: &Streams, act: impl FnOnce() -> Result<T>) -> Result<T> {
    let is_over = AtomicBool::new(false);
    let flowing = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let reader = std::thread::Builder::new().name("streams".to_owned());
        let reader = reader.spawn_scoped(scope, || read_until(streams, &is_over, &flowing))?;
        let flows = wait_for_all(streams.outputs.len(), &flowing, || reader.is_finished());
        let done = flows.and_then(|()| act());
        is_over.store(true, Ordering::Relaxed);
        let read = reader.join().expect("the reader does not panic");
        read.and(done)
    })
}

fn wait_for_all(count: usize, flowing: &AtomicUsize, has_ended: impl Fn() -> bool) -> Result<()> {
    let began = Instant::now();
    while flowing.load(Ordering::Relaxed) < count && !has_ended() {
        ensure!(
            began.elapsed() < crate::process::START_LIMIT,
            "{} of {count} streams flow",
            flowing.load(Ordering::Relaxed)
        );
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    Ok(())
}

fn read_until(streams: &Streams, is_over: &AtomicBool, flowing: &AtomicUsize) -> Result<()> {
    let mut buffer = vec![0; READ_BYTES];
    let mut has_flowed = vec![false; streams.outputs.len()];
    while !is_over.load(Ordering::Relaxed) {
        let mut waiting: Vec<_> = streams
            .outputs
            .iter()
            .map(|output| PollFd::new(output, PollFlags::IN))
            .collect();
        poll(&mut waiting, Some(&LOOK))?;
        for (index, output) in streams.outputs.iter().enumerate() {
            if waiting[index].revents().is_empty() {
                continue;
            }
            if rustix::io::read(output, &mut buffer[..])? == 0 {
                bail!("a stream ended");
            }
            if !has_flowed[index] {
                has_flowed[index] = true;
                flowing.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
    Ok(())
}
