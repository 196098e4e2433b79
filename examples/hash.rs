//! Prints a file's SHA-256 sum: hashing alone, as fast as this project's programs do it. What `scripts/check-host-promises`
//! compares verified copies with.

use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{self, Read};

/// Read at a time, as a transfer is.
const CHUNK_BYTES: usize = 64 * 1024;

fn main() -> io::Result<()> {
    let path = std::env::args_os().nth(1);
    let path = path.ok_or_else(|| io::Error::other("say which file: hash FILE"))?;
    let mut file = File::open(path)?;
    let mut sum = Sha256::new();
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            count => sum.update(&buffer[..count]),
        }
    }
    let digits: String = sum
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    println!("{digits}");
    Ok(())
}
