//! The lines of a shell `/init` that start an agent written in Python, changed to start the binary.
//!
//! Owns what is recognised: a line that runs `python3 …/smolvm-guest-agent`, and the `if` around it
//! that asks for python3. Those lines change, and every other byte stays. Refuses to guess: a script
//! that starts it in any other shape is left whole, since a half-changed one does not boot.

/// Where the agent stands in a guest.
pub(super) const AGENT_PATH: &str = "/usr/local/bin/smolvm-guest-agent";
const AGENT_NAME: &str = "smolvm-guest-agent";
/// Words that may stand before a command and change how it runs, not what.
const WRAPPERS: [&str; 3] = ["exec", "nohup", "setsid"];
/// Options of python3 that take no value of their own.
const PLAIN_OPTIONS: &str = "BdEIiOPqsSuvx";

/// What a script does about the agent.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Script {
    /// It starts the Python one; this is its text with the binary instead.
    Changed(String),
    /// It starts the binary.
    StartsBinary,
    /// It does not start one.
    StartsNone,
    /// It starts the Python one in a shape that is not recognised, in the line of this number.
    Unrecognised(usize),
}

/// Looks at a script.
pub(super) fn examine(text: &str) -> Script {
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let mut changed: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
    let mut is_changed = false;
    if let Some(index) = continued_start(&lines) {
        return Script::Unrecognised(index + 1);
    }
    for (index, line) in lines.iter().enumerate() {
        let Some(started) = with_binary(line) else {
            continue;
        };
        changed[index] = started;
        is_changed = true;
        if change_condition(&lines, index, &mut changed).is_none() {
            return Script::Unrecognised(index + 1);
        }
    }
    let is_left =
        |line: &String| is_code(line) && line.contains("python") && line.contains(AGENT_NAME);
    if let Some(index) = changed.iter().position(is_left) {
        return Script::Unrecognised(index + 1);
    }
    if is_changed {
        Script::Changed(changed.concat())
    } else if lines.iter().any(|line| starts_binary(line)) {
        Script::StartsBinary
    } else if lines
        .iter()
        .any(|line| is_code(line) && line.contains("python"))
    {
        // By a variable or a function, perhaps.
        let names_it = |line: &str| is_code(line) && line.contains(AGENT_NAME);
        match lines.iter().position(|line| names_it(line)) {
            Some(index) => Script::Unrecognised(index + 1),
            None => Script::StartsNone,
        }
    } else {
        Script::StartsNone
    }
}

/// The first line of a command that goes on in further lines, and has both python and the agent in it.
fn continued_start(lines: &[&str]) -> Option<usize> {
    let is_continued =
        |line: &str| is_code(line) && line.trim_end_matches(['\n', '\r']).ends_with('\\');
    let mut begin = 0;
    for (index, line) in lines.iter().enumerate() {
        if is_continued(line) {
            continue;
        }
        let command = &lines[begin..=index];
        let has = |word: &str| command.iter().any(|line| line.contains(word));
        if command.len() > 1 && has("python") && has(AGENT_NAME) {
            return Some(begin);
        }
        begin = index + 1;
    }
    None
}

/// The line with the binary in place of `python3 …/smolvm-guest-agent`; all around it stays.
fn with_binary(line: &str) -> Option<String> {
    let mut words = words(line).skip_while(|(_, word)| is_wrapper(word));
    let (begin, python) = words.next()?;
    if !is_python(python) {
        return None;
    }
    let mut words = words.skip_while(|(_, word)| is_plain_option(word));
    let (at, script) = words.next()?;
    if !names_agent(script) {
        return None;
    }
    let end = at + script.len();
    Some(format!("{}{AGENT_PATH}{}", &line[..begin], &line[end..]))
}

/// Changes the `if` around the line `index`, where it asks for python3, and what is said where that is
/// missing. `None` where its shape is not recognised.
fn change_condition(lines: &[&str], index: usize, changed: &mut [String]) -> Option<()> {
    let Some((opening, is_first_branch)) = enclosing_if(lines, index) else {
        return Some(());
    };
    if !lines[opening].contains("python") {
        return Some(());
    }
    if !is_first_branch {
        return None;
    }
    changed[opening] = with_binary_condition(lines[opening], lines.get(opening + 1).copied())?;
    let mut depth = 0;
    for (line, changed) in lines.iter().zip(changed).skip(index + 1) {
        match block_step(line) {
            BlockStep::Opens => depth += 1,
            BlockStep::Closes if depth == 0 => return Some(()),
            BlockStep::Closes => depth -= 1,
            BlockStep::None if line.trim_start().starts_with("echo ") => {
                *changed = changed.replace("python3 or ", "");
            }
            BlockStep::None | BlockStep::Branches => {}
        }
    }
    None
}

/// The condition without its questions for python3.
fn with_binary_condition(line: &str, next: Option<&str>) -> Option<String> {
    let at = line.find("if ")? + 3;
    let code = line.trim_end();
    let end = match code.strip_suffix("then") {
        Some(before) => before.trim_end().strip_suffix(';')?.trim_end().len(),
        None if next.is_some_and(|next| next.trim() == "then") => code.len(),
        None => return None,
    };
    let condition = line.get(at..end)?;
    if condition.contains("||") || condition.contains('\\') || condition.contains(';') {
        return None;
    }
    let asks_for_binary = format!("[ -x {AGENT_PATH} ]");
    let mut wanted = Vec::new();
    for question in condition.split("&&").map(str::trim) {
        let is_test = question.starts_with("[ -") || question.starts_with("test -");
        let is_search = ["command -v ", "which ", "type ", "hash "]
            .iter()
            .any(|search| question.starts_with(search));
        if question.contains("python") {
            if !(is_test || is_search) || question.contains(AGENT_NAME) {
                return None;
            }
        } else if question.contains(AGENT_NAME) {
            if !is_test {
                return None;
            }
            wanted.push(asks_for_binary.as_str());
        } else {
            wanted.push(question);
        }
    }
    if !wanted.contains(&asks_for_binary.as_str()) {
        wanted.insert(0, &asks_for_binary);
    }
    Some(format!(
        "{}{}{}",
        &line[..at],
        wanted.join(" && "),
        &line[end..]
    ))
}

/// The line of the `if` that a line stands in, and whether that is in its first branch.
fn enclosing_if(lines: &[&str], index: usize) -> Option<(usize, bool)> {
    let mut depth = 0;
    let mut is_first_branch = true;
    for opening in (0..index).rev() {
        match block_step(lines[opening]) {
            BlockStep::Closes => depth += 1,
            BlockStep::Opens if depth == 0 => return Some((opening, is_first_branch)),
            BlockStep::Opens => depth -= 1,
            BlockStep::Branches if depth == 0 => is_first_branch = false,
            BlockStep::None | BlockStep::Branches => {}
        }
    }
    None
}

enum BlockStep {
    Opens,
    Branches,
    Closes,
    None,
}

fn block_step(line: &str) -> BlockStep {
    let code = line.trim();
    let mut words = code.split(|c: char| c.is_whitespace() || c == ';' || c == ')');
    match words.next() {
        Some("if") if words.next_back() == Some("fi") => BlockStep::None,
        Some("if") => BlockStep::Opens,
        Some("else" | "elif") => BlockStep::Branches,
        Some("fi") => BlockStep::Closes,
        _ => BlockStep::None,
    }
}

fn starts_binary(line: &str) -> bool {
    is_code(line)
        && line.split(['&', '|', ';', '{', '(']).any(|command| {
            let mut words = words(command).skip_while(|(_, word)| {
                is_wrapper(word) || matches!(*word, "then" | "do" | "else")
            });
            words.next().is_some_and(|(_, word)| names_agent(word))
        })
}

fn is_code(line: &str) -> bool {
    !line.trim_start().starts_with('#')
}

/// Words with where they begin; quotes are part of them.
fn words(line: &str) -> impl Iterator<Item = (usize, &str)> {
    line.split_whitespace()
        .map(|word| (word.as_ptr() as usize - line.as_ptr() as usize, word))
}

fn is_wrapper(word: &str) -> bool {
    let is_assignment = word.split_once('=').is_some_and(|(name, _)| {
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    });
    is_assignment || WRAPPERS.contains(&word)
}

fn is_python(word: &str) -> bool {
    let name = word.rsplit('/').next().unwrap_or(word);
    name.strip_prefix("python")
        .is_some_and(|version| version.bytes().all(|b| b.is_ascii_digit() || b == b'.'))
}

fn is_plain_option(word: &str) -> bool {
    word.strip_prefix('-').is_some_and(|letters| {
        !letters.is_empty() && letters.chars().all(|c| PLAIN_OPTIONS.contains(c))
    })
}

fn names_agent(word: &str) -> bool {
    let path = word.trim_matches(['"', '\'']);
    path.starts_with('/') && path.rsplit('/').next() == Some(AGENT_NAME)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PUBLISHED_SHAPE: &str = "\
#!/bin/sh
# Needs python3 and smolvm-guest-agent.
if [ -e /dev/vda ]; then
    mount -o remount,rw /
fi
if command -v python3 >/dev/null 2>&1 && [ -f /usr/local/bin/smolvm-guest-agent ]; then
    python3 /usr/local/bin/smolvm-guest-agent >/var/log/agent.log 2>&1 &
    echo \"agent is up ($!)\"
else
    echo \"no agent (python3 or agent missing)\"
fi
/usr/sbin/sshd -e
";

    fn changed(text: &str) -> String {
        match examine(text) {
            Script::Changed(text) => text,
            other => panic!("{other:?} for {text}"),
        }
    }

    #[test]
    fn published_block_starts_the_binary_and_all_else_stays() {
        let text = changed(PUBLISHED_SHAPE);
        let wanted = PUBLISHED_SHAPE
            .replace(
                "command -v python3 >/dev/null 2>&1 && [ -f /usr/local/bin/smolvm-guest-agent ]",
                "[ -x /usr/local/bin/smolvm-guest-agent ]",
            )
            .replace("    python3 /usr", "    /usr")
            .replace("(python3 or agent missing)", "(agent missing)");
        assert_eq!(text, wanted);
        assert_eq!(examine(&text), Script::StartsBinary);
    }

    #[test]
    fn line_without_a_condition_is_changed_alone() {
        for (line, wanted) in [
            (
                "python3 /usr/local/bin/smolvm-guest-agent &",
                "/usr/local/bin/smolvm-guest-agent &",
            ),
            (
                "\tLANG=C nohup /usr/bin/python3.11 -u \"/opt/a/smolvm-guest-agent\" --port 7 >/l 2>&1 &\r\n",
                "\tLANG=C nohup /usr/local/bin/smolvm-guest-agent --port 7 >/l 2>&1 &\r\n",
            ),
        ] {
            assert_eq!(changed(line), wanted);
        }
    }

    #[test]
    fn other_questions_of_the_condition_stay() {
        let text = "if [ -e /dev/vsock ] && which python3 >/dev/null\nthen\n  if true; then :; fi\n  \
                    python3 /usr/local/bin/smolvm-guest-agent &\nfi";
        let wanted = "if [ -x /usr/local/bin/smolvm-guest-agent ] && [ -e /dev/vsock ]\nthen\n  if true; then \
                      :; fi\n  /usr/local/bin/smolvm-guest-agent &\nfi";
        assert_eq!(changed(text), wanted);
        let outer = "if [ -e /x ]; then\n  python3 /usr/local/bin/smolvm-guest-agent &\nfi\n";
        assert_eq!(changed(outer), outer.replace("python3 ", ""));
    }

    #[test]
    fn shapes_that_are_not_recognised_are_left_whole() {
        for (text, line) in [
            (
                "x\n[ -f /a ] && python3 /usr/local/bin/smolvm-guest-agent &\n",
                2,
            ),
            ("python3 -m x /usr/local/bin/smolvm-guest-agent &\n", 1),
            (
                "if ! command -v python3; then\n:\nelse\npython3 /usr/local/bin/smolvm-guest-agent &\nfi\n",
                4,
            ),
            (
                "if command -v python3 || true; then\npython3 /usr/local/bin/smolvm-guest-agent &\nfi\n",
                2,
            ),
            (
                "if command -v python3; then\npython3 /usr/local/bin/smolvm-guest-agent &\n",
                2,
            ),
            (
                "x \\\n  y\nexec python3 \\\n  /usr/local/bin/smolvm-guest-agent &\n",
                3,
            ),
            (
                "PYTHON=python3\n$PYTHON /usr/local/bin/smolvm-guest-agent &\n",
                2,
            ),
            (
                "if command -v python3 wifi; then\n:\nelse\npython3 /usr/local/bin/smolvm-guest-agent &\nfi\n",
                4,
            ),
            (
                "if command -v python3 && test -e /x/wifi\nthen\n:\nelse\npython3 \
                 /usr/local/bin/smolvm-guest-agent &\nfi\n",
                5,
            ),
        ] {
            assert_eq!(examine(text), Script::Unrecognised(line), "{text}");
        }
    }

    #[test]
    fn scripts_that_start_the_binary_or_none_are_told_apart() {
        for text in [
            "/usr/local/bin/smolvm-guest-agent &",
            "[ -x /a ] && exec /usr/local/bin/smolvm-guest-agent",
            "if true; then /usr/local/bin/smolvm-guest-agent & fi",
        ] {
            assert_eq!(examine(text), Script::StartsBinary, "{text}");
        }
        for text in [
            "",
            "# python3 /usr/local/bin/smolvm-guest-agent",
            "echo agent\n[ -x /usr/local/bin/smolvm-guest-agent ]",
        ] {
            assert_eq!(examine(text), Script::StartsNone, "{text}");
        }
    }
}
