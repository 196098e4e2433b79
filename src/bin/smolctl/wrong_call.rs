//! What was wrong with a call, as one sentence.
//!
//! Owns the words for what clap refuses: its own are several lines, with a usage and tips. Refuses to know the
//! arguments: names and possible values come from clap's error, the verbs from its table.

use crate::arguments::Arguments;
use clap::CommandFactory;
use clap::error::{ContextKind, ContextValue, Error, ErrorKind};
use std::error::Error as _;
use std::ffi::OsString;

/// The sentence for a call with these words, the program's name first.
pub(crate) fn sentence(error: &Error, words: &[OsString]) -> String {
    let called = Called::of(words);
    let what = what_is_wrong(error, &called);
    format!("{what}; see '{} --help'", called.names.join(" "))
}

/// How far the words of a call name verbs.
struct Called {
    names: Vec<String>,
    verbs: Vec<String>,
}

impl Called {
    fn of(words: &[OsString]) -> Self {
        let mut command = Arguments::command();
        let mut names = vec![command.get_name().to_owned()];
        for word in words.iter().skip(1) {
            let Some(verb) = command.find_subcommand(word) else {
                break;
            };
            names.push(verb.get_name().to_owned());
            command = verb.clone();
        }
        let verbs = command.get_subcommands().filter(|verb| !verb.is_hide_set());
        let verbs = verbs.map(|verb| verb.get_name().to_owned()).collect();
        Self { names, verbs }
    }
}

fn what_is_wrong(error: &Error, called: &Called) -> String {
    let text = |kind| text_of(error.get(kind));
    let argument = text(ContextKind::InvalidArg);
    let value = text(ContextKind::InvalidValue);
    match error.kind() {
        ErrorKind::MissingSubcommand | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            format!(
                "{} needs a verb: {}",
                called.names.join(" "),
                called.verbs.join(", ")
            )
        }
        ErrorKind::InvalidSubcommand => format!(
            "there is no verb '{}'{}",
            text(ContextKind::InvalidSubcommand),
            perhaps(error, ContextKind::SuggestedSubcommand)
        ),
        ErrorKind::UnknownArgument => format!(
            "the argument '{argument}' is unknown{}",
            perhaps(error, ContextKind::SuggestedArg)
        ),
        ErrorKind::MissingRequiredArgument => match error.get(ContextKind::InvalidArg) {
            Some(ContextValue::Strings(missing)) if missing.len() > 1 => {
                format!("{argument} are missing")
            }
            _ => format!("{argument} is missing"),
        },
        ErrorKind::ArgumentConflict => match text(ContextKind::PriorArg) {
            other if other == argument => format!("{argument} is given twice"),
            other => format!("{argument} cannot be given together with {other}"),
        },
        ErrorKind::InvalidValue if value.is_empty() => format!("{argument} has no value"),
        ErrorKind::InvalidValue => format!(
            "{argument} cannot be '{value}', but one of: {}",
            text(ContextKind::ValidValue)
        ),
        ErrorKind::ValueValidation => match error.source() {
            Some(reason) => format!("{argument} cannot be '{value}': {reason}"),
            None => format!("{argument} cannot be '{value}'"),
        },
        _ => first_line(error),
    }
}

/// What somebody meant, if that can be guessed; of several guesses the last is the best.
fn perhaps(error: &Error, kind: ContextKind) -> String {
    let guess = match error.get(kind) {
        Some(ContextValue::String(guess)) => Some(guess),
        Some(ContextValue::Strings(guesses)) => guesses.last(),
        _ => None,
    };
    guess.map_or_else(String::new, |guess| {
        format!(", perhaps '{guess}' was meant")
    })
}

/// As one line, whatever was typed.
fn text_of(value: Option<&ContextValue>) -> String {
    match value {
        Some(ContextValue::String(text)) => text.escape_debug().to_string(),
        Some(ContextValue::Strings(texts)) => texts.join(", ").escape_debug().to_string(),
        Some(ContextValue::Number(number)) => number.to_string(),
        _ => String::new(),
    }
}

/// Clap's own words, without those that come before and after.
fn first_line(error: &Error) -> String {
    let text = error.to_string();
    let line = text.lines().next().unwrap_or_default();
    line.strip_prefix("error: ").unwrap_or(line).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[test]
    fn wrong_call_is_told_in_one_sentence_that_names_the_verbs_help() {
        for (line, wanted) in [
            (
                "smolctl",
                "smolctl needs a verb: ping, wait-ready, run, shell, put, get, cp, forward, shutdown, clock, resume, image, vm, doctor, version, completions, manual",
            ),
            (
                "smolctl vm",
                "smolctl vm needs a verb: start, list, stop, rm, logs, timings",
            ),
            (
                "smolctl vm lst",
                "there is no verb 'lst', perhaps 'list' was meant",
            ),
            ("smolctl frobnicate", "there is no verb 'frobnicate'"),
            (
                "smolctl vm start --imag x",
                "the argument '--imag' is unknown, perhaps '--image' was meant",
            ),
            ("smolctl vm list x", "the argument 'x' is unknown"),
            ("smolctl put cid:3", "<LOCAL>, <REMOTE> are missing"),
            ("smolctl vm stop", "<NAME>... is missing"),
            (
                "smolctl vm start --kvm --tcg",
                "--kvm cannot be given together with --tcg",
            ),
            ("smolctl vm start --kvm --kvm", "--kvm is given twice"),
            ("smolctl vm start --image", "--image <DIR> has no value"),
            (
                "smolctl run cid:3 --shell fish",
                "--shell <SHELL> cannot be 'fish', but one of: login, raw",
            ),
            (
                "smolctl ping cid:3 --timeout 0",
                "--timeout <SECONDS> cannot be '0': must be more than 0",
            ),
            (
                "smolctl vm start --memory 1",
                "--memory <MIB> cannot be '1': give a number from 64 to 1048576",
            ),
            (
                "smolctl vm start --memory -5",
                "--memory <MIB> cannot be '-5': give a number from 64 to 1048576",
            ),
            (
                "smolctl vm start --cpus 2x",
                "--cpus <N> cannot be '2x': give a number from 1 to 255",
            ),
        ] {
            let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            let error = Arguments::try_parse_from(&words).unwrap_err();
            let verb = Called::of(&words).names.join(" ");
            let wanted = format!("{wanted}; see '{verb} --help'");
            assert_eq!(sentence(&error, &words), wanted);
        }
    }

    #[test]
    fn text_of_a_wrong_value_cannot_break_the_line() {
        let words = ["smolctl", "vm", "start", "--vsock", "a\nb\x1b[1m"].map(OsString::from);
        let error = Arguments::try_parse_from(&words).unwrap_err();
        let told = sentence(&error, &words);
        assert!(
            told.contains(r"'a\nb\u{1b}[1m'") && told.lines().count() == 1,
            "{told}"
        );
    }
}
