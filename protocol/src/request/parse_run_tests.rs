//! What `run` takes beyond version 1 as it began.

use super::tests::{refusal, run};
use crate::request::{Leftovers, MAX_ARGUMENTS, RunRequest, Until};

#[test]
fn run_takes_a_program_without_a_shell_and_null_beside_it_counts_as_absent() {
    assert_eq!(
        run(r#"{"op":"run","argv":["a","","b \udc80"],"cwd":"/x","cmd":null,"shell":null}"#),
        RunRequest {
            argv: vec![b"a".to_vec(), Vec::new(), b"b \x80".to_vec()],
            directory: b"/x".to_vec(),
            ..RunRequest::default()
        }
    );
    let plain = r#"{"op":"run","cmd":"a","argv":null,"cwd":null,"usage":false,"user":null,"until":"eof","leftovers":null}"#;
    assert!(!run(plain).uses_additions());
}

#[test]
fn run_is_over_when_it_says() {
    for (members, until) in [
        ("", Until::Eof),
        (r#","until":"eof""#, Until::Eof),
        (r#","until":"exit""#, Until::Exit(Leftovers::Keep)),
        (
            r#","until":"exit","leftovers":"keep""#,
            Until::Exit(Leftovers::Keep),
        ),
        (
            r#","until":"exit","leftovers":"kill""#,
            Until::Exit(Leftovers::Kill),
        ),
    ] {
        assert_eq!(
            run(&format!(r#"{{"op":"run","cmd":"a"{members}}}"#)).until,
            until
        );
    }
}

#[test]
fn arguments_are_counted_while_they_are_parsed() {
    let json = |count| {
        format!(
            r#"{{"op":"run","argv":["a"{}]}}"#,
            ",\"\"".repeat(count - 1)
        )
    };
    assert_eq!(run(&json(MAX_ARGUMENTS)).argv.len(), MAX_ARGUMENTS);
    assert_eq!(
        refusal(&json(MAX_ARGUMENTS + 1)),
        "'argv' has more than 16384 entries"
    );
}
