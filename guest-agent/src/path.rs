//! Paths made absolute lexically, as Python's `os.path.abspath` makes them.
//!
//! `.` and empty parts go, `..` takes its parent, a trailing slash goes: without a look at the file
//! system, so symbolic links are not followed. `std::path::absolute` does not do the last two.

/// `path` as an absolute one, a relative one against `working_directory`.
pub(crate) fn absolute(path: &[u8], working_directory: &[u8]) -> Vec<u8> {
    let base: &[u8] = if path.starts_with(b"/") {
        b""
    } else {
        working_directory
    };
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in [base, path]
        .into_iter()
        .flat_map(|path| path.split(|byte| *byte == b'/'))
    {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop()),
            _ => parts.push(part),
        }
    }
    let mut absolute = Vec::with_capacity(path.len() + base.len() + 1);
    for part in parts {
        absolute.push(b'/');
        absolute.extend_from_slice(part);
    }
    if absolute.is_empty() {
        absolute.push(b'/');
    }
    absolute
}

/// What follows the last slash, as `os.path.basename` says: empty for `x/`.
pub(crate) fn last_component(path: &[u8]) -> &[u8] {
    path.rsplit(|byte| *byte == b'/').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_become_absolute_without_a_look_at_the_files() {
        for (path, expected) in [
            ("/a/b", "/a/b"),
            ("/a//b/./c/", "/a/b/c"),
            ("/a/../b", "/b"),
            ("/../..", "/"),
            ("/", "/"),
            ("x", "/home/u/x"),
            ("../x", "/home/x"),
            ("../../../../x", "/x"),
            (".", "/home/u"),
            ("//x", "/x"),
        ] {
            assert_eq!(
                absolute(path.as_bytes(), b"/home/u"),
                expected.as_bytes(),
                "{path}"
            );
        }
        assert_eq!(absolute(b"x", b"/"), b"/x");
    }

    #[test]
    fn last_component_is_what_follows_the_last_slash() {
        for (path, expected) in [
            ("a", "a"),
            ("../escape", "escape"),
            ("x/", ""),
            ("", ""),
            ("/a/b", "b"),
            ("..", ".."),
        ] {
            assert_eq!(last_component(path.as_bytes()), expected.as_bytes());
        }
    }
}
