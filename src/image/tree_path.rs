//! Paths within a tree of a guest's files: taken from names of others, and followed through links.
//!
//! Owns the rule that nothing leads out of the tree: names may not climb, and links are followed as a
//! process would that has the tree as its root. Refuses names that an image cannot have.

/// The longest path from the tree's root, in bytes (PATH_MAX less its end).
pub(super) const MAX_PATH_BYTES: usize = 4095;
/// The longest name in a directory, in bytes (NAME_MAX).
const MAX_NAME_BYTES: usize = 255;
/// How many links are followed on the way to one path, as in Linux (MAXSYMLINKS).
const MAX_LINKS: usize = 40;

/// What stands at a path of a tree, as far as the way through it needs it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place<'tree> {
    /// Nothing.
    Missing,
    /// A directory.
    Directory,
    /// A symbolic link with its target.
    Link(&'tree str),
    /// Anything else.
    Other,
}

/// The path in the tree that a name in an archive or folder means: `./etc/`, `/etc` and `etc` are
/// all `/etc`.
///
/// # Errors
/// What is wrong with the name, as the end of a sentence that begins with the tree.
pub(super) fn clean(name: &[u8]) -> Result<String, String> {
    let shown = || name.escape_ascii().to_string();
    let text = std::str::from_utf8(name).map_err(|_| {
        format!(
            "has '{}', which is no UTF-8: give the file another name",
            shown()
        )
    })?;
    let mut path = String::new();
    for part in text.split('/') {
        match part {
            "" | "." => continue,
            ".." => return Err(format!("has '{}', which leads out of it by '..'", shown())),
            _ if part.contains('\0') => {
                return Err(format!("has '{}', with a zero byte in its name", shown()));
            }
            _ if part.len() > MAX_NAME_BYTES => {
                return Err(format!(
                    "has '{part}', a name of more than {MAX_NAME_BYTES} bytes"
                ));
            }
            _ => {
                path.push('/');
                path.push_str(part);
            }
        }
    }
    if path.len() > MAX_PATH_BYTES {
        return Err(format!(
            "has '{path}', a path of more than {MAX_PATH_BYTES} bytes"
        ));
    }
    if path.is_empty() {
        path.push('/');
    }
    Ok(path)
}

/// The directory that a path stands in, and its name there; `None` for the root.
pub(super) fn split(path: &str) -> Option<(&str, &str)> {
    let (directory, name) = path.rsplit_once('/')?;
    (!name.is_empty()).then_some((if directory.is_empty() { "/" } else { directory }, name))
}

/// A name in a directory.
pub(super) fn join(directory: &str, name: &str) -> String {
    format!("{}/{name}", directory.trim_end_matches('/'))
}

/// Where `path` leads once every link in it is followed, the last one, too. What is missing is taken
/// for directories.
///
/// # Errors
/// Where links go in a circle, or the way leads through something that is no directory.
pub(super) fn follow<'tree>(
    look: impl Fn(&str) -> Place<'tree>,
    path: &str,
) -> Result<String, String> {
    let mut left: Vec<&str> = path.rsplit('/').collect();
    let mut at = String::from("/");
    let mut links = 0;
    while let Some(part) = left.pop() {
        match part {
            "" | "." => continue,
            ".." => {
                let above = split(&at).map_or("/", |(directory, _)| directory);
                at = above.to_owned();
                continue;
            }
            _ => {}
        }
        let next = join(&at, part);
        match look(&next) {
            Place::Link(target) => {
                links += 1;
                if links > MAX_LINKS {
                    return Err(format!("has links in a circle at {path}"));
                }
                if target.starts_with('/') {
                    at = String::from("/");
                }
                left.extend(target.rsplit('/'));
            }
            Place::Other if left.iter().any(|part| !part.is_empty()) => {
                return Err(format!(
                    "has {next}, which is no directory, on the way to {path}"
                ));
            }
            Place::Missing | Place::Directory | Place::Other => at = next,
        }
    }
    Ok(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_made_absolute_and_none_climbs_out() {
        for (name, path) in [("./a//b/", "/a/b"), ("/a", "/a"), ("./", "/"), ("", "/")] {
            assert_eq!(clean(name.as_bytes()).unwrap(), path);
        }
        let long = "x".repeat(256);
        let deep = "x/".repeat(2100);
        for (name, reason) in [
            (&b"a/../b"[..], "leads out of it by '..'"),
            (b"a\xff", "has 'a\\xff', which is no UTF-8"),
            (b"a\0b", "zero byte"),
            (long.as_bytes(), "a name of more than 255 bytes"),
            (deep.as_bytes(), "a path of more than 4095 bytes"),
        ] {
            let error = clean(name).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
    }

    fn sample(path: &str) -> Place<'static> {
        match path {
            "/lib" => Place::Link("usr/lib"),
            "/usr" | "/usr/lib" => Place::Directory,
            "/usr/local" => Place::Link("/../../opt/./local"),
            "/up" => Place::Link("../../.."),
            "/loop" => Place::Link("loop"),
            "/file" => Place::Other,
            _ => Place::Missing,
        }
    }

    #[test]
    fn links_are_followed_within_the_tree_as_after_a_chroot() {
        for (path, led_to) in [
            ("/lib/x", "/usr/lib/x"),
            ("/usr/local/bin", "/opt/local/bin"),
            ("/up/etc", "/etc"),
            ("/lib/../x", "/usr/x"),
            ("/file", "/file"),
            ("/", "/"),
        ] {
            assert_eq!(follow(sample, path).unwrap(), led_to, "{path}");
        }
    }

    #[test]
    fn circles_and_ways_through_files_are_errors() {
        assert!(follow(sample, "/loop/x").unwrap_err().contains("circle"));
        let error = follow(sample, "/file/x").unwrap_err();
        assert!(error.contains("has /file, which is no directory"));
    }
}
