//! Who a request's `user` is, by `/etc/passwd` and `/etc/group`: as a plain reading of both says.
//!
//! The bytes are the user, a line; then `passwd`, and behind a line `--` `group`.

use smolvm_guest_agent::fuzzing::{Account, account};

/// Checks whom the agent takes for the user that is meant.
pub fn check(bytes: &[u8]) {
    let (user, files) = cut(bytes, b"\n");
    let (passwd, group) = cut(files, b"\n--\n");
    let found = account(user, passwd, group);
    match plainly(user, passwd, group) {
        Some(expected) => assert_eq!(found, Ok(expected)),
        None => {
            let sentence = found.expect_err("there is no such user or group");
            assert!(
                sentence.starts_with("unknown user ") || sentence.starts_with("unknown group ")
            );
        }
    }
}

/// What stands before the first `mark`, and behind it.
fn cut<'bytes>(bytes: &'bytes [u8], mark: &[u8]) -> (&'bytes [u8], &'bytes [u8]) {
    let at = bytes.windows(mark.len()).position(|window| window == mark);
    at.map_or((bytes, &[]), |at| (&bytes[..at], &bytes[at + mark.len()..]))
}

type Line = Vec<Vec<u8>>;

fn lines(file: &[u8]) -> Vec<Line> {
    let lines = file.split(|byte| *byte == b'\n');
    lines
        .map(|line| {
            line.split(|byte| *byte == b':')
                .map(<[u8]>::to_vec)
                .collect()
        })
        .collect()
}

fn field(line: &Line, at: usize) -> Vec<u8> {
    line.get(at).cloned().unwrap_or_default()
}

fn number(digits: &[u8]) -> Option<u32> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    // Leading zeros are no reason to refuse it.
    let value = digits.iter().try_fold(0_u64, |value, digit| {
        let next = value * 10 + u64::from(digit - b'0');
        (next < u64::from(u32::MAX)).then_some(next)
    })?;
    u32::try_from(value).ok()
}

fn line_of(file: &[Line], wanted: &[u8]) -> Option<Line> {
    let is_it = |line: &&Line| match number(wanted) {
        Some(id) => number(&field(line, 2)) == Some(id),
        None => field(line, 0) == wanted,
    };
    file.iter().find(is_it).cloned()
}

fn plainly(user: &[u8], passwd: &[u8], group: &[u8]) -> Option<Account> {
    let (passwd, group) = (lines(passwd), lines(group));
    let colon = user.iter().position(|byte| *byte == b':');
    let (name, own_group) = match colon {
        Some(at) => (&user[..at], Some(&user[at + 1..])),
        None => (user, None),
    };
    let line = line_of(&passwd, name);
    let mut account = match &line {
        Some(line) => Account {
            uid: number(&field(line, 2))?,
            gid: number(&field(line, 3))?,
            groups: Vec::new(),
            name: field(line, 0),
            home: field(line, 5),
            shell: field(line, 6),
        },
        None => Account {
            uid: number(name)?,
            gid: number(name)?,
            groups: Vec::new(),
            name: name.to_vec(),
            home: Vec::new(),
            shell: Vec::new(),
        },
    };
    if account.home.is_empty() {
        account.home = b"/".to_vec();
    }
    if account.shell.is_empty() {
        account.shell = b"/bin/sh".to_vec();
    }
    if let Some(own_group) = own_group {
        account.gid = match line_of(&group, own_group) {
            Some(line) => number(&field(&line, 2))?,
            None => number(own_group)?,
        };
        return Some(account);
    }
    account.groups = vec![account.gid];
    if line.is_some() {
        for line in &group {
            let members = field(line, 3);
            let is_member = members
                .split(|byte| *byte == b',')
                .any(|member| member == account.name);
            if let (true, Some(gid)) = (is_member, number(&field(line, 2))) {
                if gid != account.gid {
                    account.groups.push(gid);
                }
            }
        }
    }
    Some(account)
}
