//! The command that mends something.
//!
//! Owns how a command is run as root, and names of packages: those of Debian and its children alone, since others'
//! are not known for certain.

use std::fs;

/// The command with root's rights.
pub(super) fn as_root(command: &str) -> String {
    match rustix::process::geteuid().is_root() {
        true => command.to_owned(),
        false => format!("sudo {command}"),
    }
}

/// What installs a package, where this is a system whose names are known.
pub(super) fn install(debian_package: &str) -> Option<String> {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    is_debian(&release).then(|| as_root(&format!("apt-get install {debian_package}")))
}

/// Whether an os-release(5) is of Debian, Ubuntu or one that calls itself like them.
fn is_debian(release: &str) -> bool {
    let mut values = release.lines().filter_map(|line| {
        let (name, value) = line.split_once('=')?;
        matches!(name, "ID" | "ID_LIKE").then(|| value.trim_matches(['"', '\'']))
    });
    values.any(|value| value.split(' ').any(|id| matches!(id, "debian" | "ubuntu")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debian_and_its_children_are_told_from_others() {
        for release in [
            "PRETTY_NAME=\"x\"\nID=debian\n",
            "ID=ubuntu\nID_LIKE=debian",
            "ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n",
        ] {
            assert!(is_debian(release), "{release}");
        }
        for release in ["", "ID=fedora\nNAME=debian\n", "ID=nixos\nID_LIKE=\"\"\n"] {
            assert!(!is_debian(release), "{release}");
        }
    }
}
