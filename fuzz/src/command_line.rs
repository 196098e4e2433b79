//! A kernel's command line, as process 1 reads it: as a plain reading, word by word, says.

use smolvm_guest_agent::fuzzing::{NetworkWords, RootWords, command_line};
use std::net::Ipv4Addr;

/// Checks what is made of a command line.
pub fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let found = command_line(text);
    let words: Vec<&str> = text
        .split([' ', '\t', '\n', '\r', '\x0c'])
        .filter(|word| !word.is_empty())
        .collect();
    assert_eq!(found.root, root(&words));
    assert_eq!(found.network, network(&words));
    assert_eq!(found.is_ended_by_a_restart, words.contains(&"reboot=k"));
}

fn root(words: &[&str]) -> Option<RootWords> {
    let end = words.iter().position(|word| *word == "--");
    let words = &words[..end.unwrap_or(words.len())];
    let last = |name: &str| {
        let mut values = words
            .iter()
            .filter_map(|word| word.strip_prefix(name)?.strip_prefix('='));
        values.next_back().map(str::to_owned)
    };
    let access = words.iter().rfind(|word| matches!(**word, "ro" | "rw"));
    Some(RootWords {
        device: last("root").filter(|device| !device.is_empty())?,
        kinds: last("rootfstype"),
        options: last("rootflags").unwrap_or_default(),
        read_only: access == Some(&"ro"),
        init: last("init"),
    })
}

fn network(words: &[&str]) -> Option<NetworkWords> {
    let usual = NetworkWords {
        device: "eth0".to_owned(),
        address: Ipv4Addr::new(172, 16, 0, 2),
        netmask: Ipv4Addr::new(255, 255, 255, 0),
        gateway: Some(Ipv4Addr::new(172, 16, 0, 1)),
    };
    let Some(ip) = words.iter().find_map(|word| word.strip_prefix("ip=")) else {
        return Some(usual);
    };
    let fields: Vec<&str> = ip.split(':').collect();
    let address = |at: usize| {
        let address: Ipv4Addr = fields.get(at)?.parse().ok()?;
        (address != Ipv4Addr::UNSPECIFIED).then_some(address)
    };
    let device = fields.get(5).filter(|device| !device.is_empty());
    Some(NetworkWords {
        device: device.map_or(usual.device, |device| (*device).to_owned()),
        address: address(0)?,
        netmask: address(3).unwrap_or(usual.netmask),
        gateway: address(2),
    })
}
