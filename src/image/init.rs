//! What happens to a tree's `/init` when the agent comes into the tree, and what is left to do.
//!
//! Owns the three ways: a script that starts the Python agent is changed in those lines, ours is put
//! in place where the caller says so, anything else is left and the lines to add are told.

use super::content::FileContent;
use super::init_script::{AGENT_PATH, Script, examine};
use super::placing::{follow_in, place};
use super::root::{Content, Root, RootEntry};

const INIT: &str = "/init";
/// As in images/minimal/layout: relative, so that it also leads there from outside of the guest.
const OUR_INIT: &str = "usr/local/bin/smolvm-guest-agent";
/// The longest script that is looked at, in bytes.
const MAX_SCRIPT_BYTES: u64 = 1024 * 1024;
/// Files and folders in which services are told how to start.
const SERVICE_FILES: [&str; 9] = [
    "/etc/init.d/",
    "/etc/inittab",
    "/etc/local.d/",
    "/etc/rc.local",
    "/etc/smolvm/boot.d/",
    "/etc/systemd/system/",
    "/lib/systemd/system/",
    "/usr/lib/systemd/system/",
    "/usr/local/lib/systemd/system/",
];

/// What was done with `/init`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InitOutcome {
    /// It is the agent's program, and was before.
    IsOurs,
    /// It is the agent's program now.
    Replaced,
    /// It started the Python agent and starts the binary now.
    Changed,
    /// It started the binary before.
    StartsBinary,
    /// It starts the Python agent in a shape that is not recognised, in the line of this number, and
    /// was left.
    Unrecognised(usize),
    /// It is a script that starts no agent, and was left.
    Script,
    /// There is none that starts an agent; this is what the tree boots with.
    System(InitSystem),
}

/// What a tree boots with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InitSystem {
    /// systemd.
    Systemd,
    /// An init that reads `/etc/inittab` as busybox does (Alpine's, with OpenRC).
    BusyboxInittab,
    /// An init that reads `/etc/inittab` as System V's does.
    SystemVInittab,
    /// Another program.
    Other,
    /// Nothing that could be found.
    None,
}

impl InitOutcome {
    /// What was done and what is left to do, for people; several lines where there is text to add.
    #[must_use]
    pub fn advice(self) -> String {
        let start = format!("{AGENT_PATH} >/var/log/smolvm-agent.log 2>&1 &");
        match self {
            Self::IsOurs => "/init is the agent's program already".to_owned(),
            Self::Replaced => "/init is the agent's program now; boot with init=/init".to_owned(),
            Self::Changed => format!(
                "/init starts {AGENT_PATH} where it started the Python agent; the rest of it is as it was"
            ),
            Self::StartsBinary => "/init starts the agent already; it is left as it is".to_owned(),
            Self::Unrecognised(line) => format!(
                "/init is left as it is: it starts the Python agent in line {line} in a way that is not \
                 recognised; have it start the new one instead:\n    {start}"
            ),
            Self::Script => format!(
                "/init is left as it is and starts no agent; add this line before the one that starts \
                 sshd:\n    {start}"
            ),
            Self::System(system) => format!(
                "no /init was changed; --replace-init puts ours there, or {}",
                system.advice()
            ),
        }
    }
}

impl InitSystem {
    fn advice(self) -> String {
        match self {
            Self::Systemd => format!(
                "enable this /etc/systemd/system/smolvm-guest-agent.service:\n    [Unit]\n    \
                 Description=SmolVM guest agent\n    [Service]\n    ExecStart={AGENT_PATH}\n    \
                 StandardError=journal+console\n    Restart=always\n    [Install]\n    WantedBy=multi-user.target\nand \
                 name vmw_vsock_virtio_transport in a file of /etc/modules-load.d/, where the kernel has it as a module"
            ),
            Self::BusyboxInittab => {
                format!("add this line to /etc/inittab:\n    ::respawn:{AGENT_PATH}")
            }
            Self::SystemVInittab => {
                format!("add this line to /etc/inittab:\n    smol:2345:respawn:{AGENT_PATH}")
            }
            Self::Other => {
                format!("have the tree's own init start {AGENT_PATH} early, once vsock is there")
            }
            Self::None => "give the tree an init that starts the agent: it has none".to_owned(),
        }
    }
}

/// Does what is to be done about `/init`.
///
/// # Errors
/// What is wrong, as the end of a sentence that begins with the tree.
pub(super) fn adapt(root: &mut Root<'_>, is_replaced: bool) -> Result<InitOutcome, String> {
    let led_to = follow_in(root, INIT)?;
    if led_to == follow_in(root, AGENT_PATH)? {
        return Ok(InitOutcome::IsOurs);
    }
    if is_replaced {
        let link = RootEntry::of_root(0o777, Content::Link(OUR_INIT.to_owned()));
        place(root, INIT, link)?;
        return Ok(InitOutcome::Replaced);
    }
    let Some(text) = script(root, &led_to)? else {
        return Ok(InitOutcome::System(system(root, &led_to)?));
    };
    Ok(match examine(&text) {
        Script::StartsBinary => InitOutcome::StartsBinary,
        Script::StartsNone => InitOutcome::Script,
        Script::Unrecognised(line) => InitOutcome::Unrecognised(line),
        Script::Changed(text) => {
            let content = Content::File(FileContent::Bytes(text.into_bytes().into()));
            if let Some(entry) = root.get(&led_to).cloned() {
                place(root, &led_to, RootEntry { content, ..entry })?;
            }
            InitOutcome::Changed
        }
    })
}

/// Services that would run the new agent as a Python script, a sentence each.
pub(super) fn stale_services(root: &Root<'_>) -> Vec<String> {
    let is_service = |path: &&String| SERVICE_FILES.iter().any(|place| path.starts_with(place));
    let mut sentences = Vec::new();
    for path in root.keys().filter(is_service) {
        let Ok(Some(text)) = text(root, path) else {
            continue;
        };
        let is_stale = |line: &&str| {
            let code = line.trim_start();
            !code.starts_with('#') && code.contains("python") && code.contains("smolvm-guest-agent")
        };
        if text.lines().any(|line| is_stale(&line)) {
            sentences.push(format!(
                "{path} starts the agent with python3, which the new one cannot be: have it start {AGENT_PATH} \
                 itself"
            ));
        }
    }
    sentences
}

fn script(root: &Root<'_>, path: &str) -> Result<Option<String>, String> {
    Ok(text(root, path)?.filter(|text| text.starts_with("#!")))
}

/// A file's text; `None` for what is no file, too long, or no text.
fn text(root: &Root<'_>, path: &str) -> Result<Option<String>, String> {
    let content = match file(root, path) {
        Some(content) if content.length() <= MAX_SCRIPT_BYTES => content,
        _ => return Ok(None),
    };
    let bytes = content.bytes();
    let bytes = bytes.map_err(|error| format!("has {path}, which cannot be read ({error})"))?;
    Ok(String::from_utf8(bytes.into_owned()).ok())
}

/// The regular file at a path, by whichever of its names.
pub(super) fn file<'root, 'input>(
    root: &'root Root<'input>,
    path: &str,
) -> Option<&'root FileContent<'input>> {
    match &root.get(path)?.content {
        Content::File(content) => Some(content),
        Content::HardLink(original) => match &root.get(original)?.content {
            Content::File(content) => Some(content),
            _ => None,
        },
        _ => None,
    }
}

fn system(root: &Root<'_>, init: &str) -> Result<InitSystem, String> {
    let path = match root.contains_key(init) {
        true => init.to_owned(),
        false => follow_in(root, "/sbin/init")?,
    };
    let has_inittab = root.contains_key("/etc/inittab");
    let name = path.rsplit('/').next().unwrap_or_default();
    Ok(match name {
        _ if !root.contains_key(&path) => InitSystem::None,
        "systemd" => InitSystem::Systemd,
        "busybox" => InitSystem::BusyboxInittab,
        _ if has_inittab => InitSystem::SystemVInittab,
        _ => InitSystem::Other,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_that_run_the_agent_by_python_are_named_wherever_they_are_and_comments_are_not() {
        const STALE: &str = "x\nExecStart=/usr/bin/python3 /usr/local/bin/smolvm-guest-agent\n";
        let named = |path: &str, text: &str| {
            let content = Content::File(FileContent::Bytes(text.as_bytes().to_owned().into()));
            let root = Root::from([(path.to_owned(), RootEntry::of_root(0o644, content))]);
            stale_services(&root).len()
        };
        for place in SERVICE_FILES {
            let path = match place.ends_with('/') {
                true => format!("{place}agent"),
                false => place.to_owned(),
            };
            assert_eq!(named(&path, STALE), 1, "{path}");
        }
        for place in ["/etc/init.d/agent", "/etc/smolvm/boot.d/10-agent"] {
            assert_eq!(named(place, STALE), 1, "{place}");
            assert_eq!(named(place, &STALE.replace("Exec", " # Exec")), 0);
            assert_eq!(named(place, "exec /usr/local/bin/smolvm-guest-agent\n"), 0);
        }
        assert_eq!(named("/etc/motd", STALE), 0);
    }
}
