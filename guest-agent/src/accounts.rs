//! Who a request's `user` is: `/etc/passwd` and `/etc/group`, read by ourselves.
//!
//! Other sources of names (NSS, LDAP) are not asked: a static program has none. Each file is read up to
//! [`MAX_BYTES`], and anew for each request. Refuses to become anybody: that is `sys/spawn.rs`.

use crate::os_error;
use crate::sys::file;
use smolvm_protocol::python_scalar::quoted;
use smolvm_protocol::response::Refusal;
use smolvm_protocol::text::shown;
use std::io;

/// The longest account file that is read.
const MAX_BYTES: usize = 1024 * 1024;

/// Whom a command runs as.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Supplementary groups; none where the request names the group.
    pub(crate) groups: Vec<u32>,
    pub(crate) name: Vec<u8>,
    pub(crate) home: Vec<u8>,
    pub(crate) shell: Vec<u8>,
}

/// The account that `user` (`NAME` or `UID`, perhaps with `:GROUP` or `:GID`) means.
pub(crate) fn find(user: &[u8]) -> Result<Account, Refusal> {
    resolve(user, &read("/etc/passwd")?, &read("/etc/group")?)
}

/// A file's content; none where there is no such file.
fn read(path: &str) -> Result<Vec<u8>, Refusal> {
    match file::read_bounded(path, MAX_BYTES) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            let sentence = os_error::sentence_about(&error, path.as_bytes());
            Err(Refusal::new(["cannot look users up: ", &sentence].concat()))
        }
        content => Ok(content.unwrap_or_default()),
    }
}

pub(crate) fn resolve(user: &[u8], passwd: &[u8], group: &[u8]) -> Result<Account, Refusal> {
    let colon = user.iter().position(|byte| *byte == b':');
    let name = &user[..colon.unwrap_or(user.len())];
    let entry = entry(passwd, name);
    let uid = entry.map_or(name, |entry| field(entry, 2));
    let uid = number(uid).ok_or_else(|| unknown("user", name))?;
    let mut account = Account {
        uid,
        gid: uid,
        groups: Vec::new(),
        name: entry.map_or(name, |entry| field(entry, 0)).to_vec(),
        home: b"/".to_vec(),
        shell: b"/bin/sh".to_vec(),
    };
    if let Some(entry) = entry {
        account.gid = number(field(entry, 3)).ok_or_else(|| unknown("user", name))?;
        for (place, at) in [(&mut account.home, 5), (&mut account.shell, 6)] {
            let value = field(entry, at);
            if !value.is_empty() {
                *place = value.to_vec();
            }
        }
    }
    match colon {
        Some(colon) => {
            let wanted = &user[colon + 1..];
            let id = self::entry(group, wanted).map_or(wanted, |entry| field(entry, 2));
            account.gid = number(id).ok_or_else(|| unknown("group", wanted))?;
        }
        None => {
            account.groups.push(account.gid);
            let mut lines = group.split(|byte| *byte == b'\n');
            while let (Some(line), true) = (lines.next(), entry.is_some()) {
                let mut members = field(line, 3).split(|byte| *byte == b',');
                let is_member = members.any(|member| member == account.name);
                match number(field(line, 2)) {
                    Some(gid) if is_member && gid != account.gid => account.groups.push(gid),
                    _ => {}
                }
            }
        }
    }
    Ok(account)
}

/// The line of a user or a group, by its name or, where that is a number, by that.
fn entry<'file>(file: &'file [u8], name: &[u8]) -> Option<&'file [u8]> {
    let wanted = number(name);
    file.split(|byte| *byte == b'\n').find(|line| match wanted {
        Some(wanted) => number(field(line, 2)) == Some(wanted),
        None => field(line, 0) == name,
    })
}

/// A field of a line; empty where there is none.
fn field(line: &[u8], at: usize) -> &[u8] {
    line.split(|byte| *byte == b':').nth(at).unwrap_or_default()
}

/// An id: digits alone, and not the highest number, which means none to the kernel.
fn number(digits: &[u8]) -> Option<u32> {
    if !digits.first()?.is_ascii_digit() {
        return None;
    }
    let number = std::str::from_utf8(digits).ok()?.parse().ok()?;
    (number != u32::MAX).then_some(number)
}

fn unknown(what: &str, name: &[u8]) -> Refusal {
    Refusal::new(["unknown ", what, " ", &quoted(&shown(name))].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &[u8] = b"root:x:0:0::/root:/bin/bash\n\nbob:x:1000:100:Bob \xff:/home/bob:\n\
        bad:x:y:1::/:\nhomeless:x:7:8:::/bin/false";
    const GROUP: &[u8] =
        b"root:x:0:\nusers:x:100:bob\nwheel:x:10:alice,bob\nbad:x::bob\n1234:x:5:bobby\naudio:x:29:bob";

    fn of(user: &str) -> Result<(u32, u32, Vec<u32>), String> {
        resolve(user.as_bytes(), PASSWD, GROUP)
            .map(|account| (account.uid, account.gid, account.groups))
            .map_err(|refusal| refusal.sentence().to_owned())
    }

    #[test]
    fn users_are_found_by_name_and_number_with_their_groups() {
        assert_eq!(of("root"), Ok((0, 0, vec![0])));
        assert_eq!(of("bob"), Ok((1000, 100, vec![100, 10, 29])));
        assert_eq!(of("1000"), of("bob"));
        assert_eq!(of("4711"), Ok((4711, 4711, vec![4711])));
    }

    #[test]
    fn named_group_stands_alone() {
        assert_eq!(of("bob:wheel"), Ok((1000, 10, vec![])));
        assert_eq!(of("bob:1234"), Ok((1000, 1234, vec![])));
        assert_eq!(of("4711:audio"), Ok((4711, 29, vec![])));
    }

    #[test]
    fn unknown_users_and_groups_are_refused() {
        for (user, sentence) in [
            ("alice", "unknown user 'alice'"),
            (":wheel", "unknown user ''"),
            ("bad", "unknown user 'bad'"),
            ("+1", "unknown user '+1'"),
            ("-1", "unknown user '-1'"),
            ("4294967295", "unknown user '4294967295'"),
            ("99999999999", "unknown user '99999999999'"),
            ("bob:", "unknown group ''"),
            ("bob:none", "unknown group 'none'"),
            ("bob:bad", "unknown group 'bad'"),
            ("bob:wheel:x", "unknown group 'wheel:x'"),
        ] {
            assert_eq!(of(user), Err(sentence.to_owned()));
        }
    }

    #[test]
    fn empty_home_and_shell_are_those_of_nobody_in_particular() {
        let account = |user: &str| resolve(user.as_bytes(), PASSWD, GROUP).unwrap();
        let shown = |user| {
            let account = account(user);
            [account.name, account.home, account.shell].map(|field| shown(&field))
        };
        assert_eq!(shown("root"), ["root", "/root", "/bin/bash"]);
        assert_eq!(shown("1000"), ["bob", "/home/bob", "/bin/sh"]);
        assert_eq!(shown("homeless"), ["homeless", "/", "/bin/false"]);
        assert_eq!(shown("4711"), ["4711", "/", "/bin/sh"]);
    }
}
