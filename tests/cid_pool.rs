//! The pool of CIDs between processes: what several take at once, and what a killed one leaves.
#![allow(clippy::unwrap_used, reason = "a step that fails fails its test")]

#[allow(dead_code, reason = "shared with tests that look at processes")]
#[path = "support/wait.rs"]
mod wait;

use smolvm_host::vm::cid_pool::CidPool;
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use wait::soon;

const PROCESSES: usize = 8;
const CIDS: usize = 500;
/// Makes a run of this program a taker: so many CIDs of the pool that is this file.
const POOL: &str = "SMOLVM_TEST_POOL";
const COUNT: &str = "SMOLVM_TEST_COUNT";

/// Another process that takes CIDs, tells them, and keeps them until its input ends.
struct Taker {
    child: Child,
}

impl Taker {
    fn start(pool: &Path, count: usize) -> Self {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "takes_cids_where_it_is_told_to", "--nocapture"])
            .env(POOL, pool)
            .env(COUNT, count.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Self { child }
    }

    /// The CIDs, once it has all of them.
    fn cids(&mut self) -> Vec<u32> {
        let lines = BufReader::new(self.child.stdout.as_mut().unwrap()).lines();
        let told = lines
            .map(Result::unwrap)
            .find_map(|line| Some(line.split_once("cids: ")?.1.to_owned()))
            .unwrap();
        told.split(' ').map(|cid| cid.parse().unwrap()).collect()
    }
}

impl Drop for Taker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// No test of its own: what a [`Taker`] does.
#[test]
fn takes_cids_where_it_is_told_to() {
    let (Some(pool), Ok(count)) = (std::env::var_os(POOL), std::env::var(COUNT)) else {
        return;
    };
    let pool = CidPool::at(Path::new(&pool));
    let leases: Vec<_> = (0..count.parse().unwrap())
        .map(|_| pool.allocate().unwrap())
        .collect();
    let cids: Vec<String> = leases
        .iter()
        .map(|lease| lease.cid().number().to_string())
        .collect();
    println!("cids: {}", cids.join(" "));
    std::io::stdout().flush().unwrap();
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink()).unwrap();
}

#[test]
fn eight_processes_that_take_500_cids_at_once_have_500_distinct_ones() {
    let folder = tempfile::tempdir().unwrap();
    let pool = folder.path().join("cids");
    let share = |process| CIDS * (process + 1) / PROCESSES - CIDS * process / PROCESSES;
    let mut takers: Vec<Taker> = (0..PROCESSES)
        .map(|process| Taker::start(&pool, share(process)))
        .collect();
    let cids: Vec<u32> = takers.iter_mut().flat_map(Taker::cids).collect();
    let distinct: BTreeSet<u32> = cids.iter().copied().collect();
    assert_eq!((cids.len(), distinct.len()), (CIDS, CIDS));
    assert_eq!(distinct, (3..3 + CIDS as u32).collect());
}

#[test]
fn cids_of_a_killed_process_are_free_again() {
    let folder = tempfile::tempdir().unwrap();
    let pool = folder.path().join("cids");
    let mut taker = Taker::start(&pool, 5);
    assert_eq!(taker.cids(), [3, 4, 5, 6, 7]);
    let next = CidPool::at(&pool).allocate().unwrap();
    assert_eq!(next.cid().number(), 8);
    drop(taker);
    let lowest = || CidPool::at(&pool).allocate().unwrap().cid().number();
    assert!(soon(|| lowest() == 3));
}
