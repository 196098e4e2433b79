//! The cases, in the order they run; each leaves the guest as it found it.

mod agent;
mod command;
mod file;
mod init;
mod interactive;
pub(crate) mod resume;
mod shutdown;
mod stream;
mod tree;

use crate::guest::{Checked, Guest};
use crate::report::Case;
use smolvm_host::transport::Address;

/// It gets the process id of the guest's QEMU, too.
type LastCase = (&'static str, fn(Address, u32) -> Checked);

/// Leaves no guest for another case.
pub(crate) const LAST: LastCase = (
    "shutdown_is_answered_and_ends_the_vm",
    shutdown::ends_the_vm,
);

/// Needs a guest with 768 MiB of memory: half of that is what its root file system may hold.
pub(crate) const LARGE: Case<Guest> = ("file_of_256_mib_comes_back_the_same", file::large);

/// What takes minutes in a guest that is emulated twice.
pub(crate) const LONG: &[&str] = &[
    "commands_of_hosts_that_die_with_output_unread_end",
    "host_is_answered_while_users_of_the_guest_knock_without_end",
    "file_of_proc_without_a_size_comes_whole",
    "a_thousand_orphans_leave_no_zombie_and_no_wrong_exit_code",
    "port_cannot_be_taken_while_the_agent_is_away",
];

/// What only a guest with our process 1 promises.
pub(crate) const OF_PROCESS_1: &[&str] = &[
    "timings_of_the_boot_are_told_in_order",
    "process_1_and_the_agent_share_the_promised_memory",
    "agent_that_was_killed_is_back_and_what_it_left_is_ended",
    "host_that_connects_while_the_agent_is_away_waits_and_is_answered",
    "port_cannot_be_taken_while_the_agent_is_away",
];

pub(crate) const ALL: &[Case<Guest>] = &[
    ("ping_is_answered_with_version_and_protocol", agent::ping),
    ("idle_agent_has_one_thread_and_promised_memory", agent::idle),
    (
        "agent_is_spared_when_memory_runs_out_and_its_commands_are_not",
        agent::oom_score,
    ),
    (
        "exit_codes_and_signals_of_commands_are_mirrored",
        command::exit_codes,
    ),
    ("both_streams_arrive_apart_and_in_order", command::streams),
    ("output_is_seen_before_the_command_ends", command::streaming),
    ("large_output_arrives_whole", command::large_output),
    ("time_out_kills_the_whole_process_tree", command::time_out),
    (
        "silent_command_ends_within_a_second_of_its_host",
        command::hang_up,
    ),
    (
        "commands_of_hosts_that_die_with_output_unread_end",
        command::unread_output,
    ),
    (
        "what_made_itself_a_daemon_outlives_its_host_and_nothing_else_does",
        command::daemon_of_a_dead_host,
    ),
    (
        "daemon_of_a_session_of_its_own_outlives_its_request",
        command::daemon,
    ),
    ("input_comes_back_from_cat_the_same", interactive::input),
    (
        "signals_reach_a_command_whose_input_is_blocked",
        interactive::signal,
    ),
    (
        "terminal_has_its_size_and_follows_a_resize",
        interactive::terminal,
    ),
    (
        "login_shell_on_a_terminal_answers_keys_and_its_jobs_end_with_it",
        interactive::shell,
    ),
    ("files_of_every_size_come_back_the_same", file::sizes),
    ("file_keeps_its_mode_and_replaces_the_old_one", file::mode),
    ("file_is_verified_both_ways", file::verified),
    ("file_is_given_to_a_user_of_the_guest", file::owner),
    (
        "file_for_a_full_disk_is_refused_and_leaves_nothing",
        file::full_disk,
    ),
    ("file_of_proc_without_a_size_comes_whole", file::proc),
    (
        "streams_of_a_forwarded_ports_clients_arrive_whole",
        stream::forwarded,
    ),
    (
        "stream_to_a_socket_that_nobody_listens_on_is_refused_with_the_reason",
        stream::refused,
    ),
    (
        "tree_of_files_comes_back_the_same_with_modes_and_links",
        tree::there_and_back,
    ),
    (
        "tree_is_refused_where_a_link_in_the_guest_leads_out_of_its_root",
        tree::link_in_the_way,
    ),
    (
        "64_requests_at_once_are_served_and_their_memory_given_back",
        agent::many,
    ),
    (
        "peer_within_the_guest_is_refused_and_served_only_where_allowed",
        agent::loopback,
    ),
    (
        "host_is_answered_while_users_of_the_guest_knock_without_end",
        agent::knocked,
    ),
    (
        "clock_that_is_wrong_is_set_right_and_a_right_one_left",
        resume::wrong_clock,
    ),
    (
        "deadline_is_kept_though_the_clock_is_set_back_and_forth",
        resume::clock_under_a_deadline,
    ),
    ("seed_is_taken", resume::seed),
    (
        "agent_without_privilege_may_neither_set_the_clock_nor_reseed",
        resume::no_privilege,
    ),
    ("timings_of_the_boot_are_told_in_order", init::timings),
    (
        "process_1_and_the_agent_share_the_promised_memory",
        init::memory,
    ),
    (
        "a_thousand_orphans_leave_no_zombie_and_no_wrong_exit_code",
        init::orphans,
    ),
    (
        "agent_that_was_killed_is_back_and_what_it_left_is_ended",
        agent::killed,
    ),
    (
        "host_that_connects_while_the_agent_is_away_waits_and_is_answered",
        init::backlog,
    ),
    ("port_cannot_be_taken_while_the_agent_is_away", init::port),
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_name_is_given_once_and_every_case_that_is_left_out_is_one_of_them() {
        let names: HashSet<_> = ALL.iter().map(|(name, _)| *name).collect();
        assert_eq!(names.len(), ALL.len());
        for name in LONG.iter().chain(OF_PROCESS_1) {
            assert!(names.contains(name), "no case is named {name}");
        }
    }
}
