//! The cases of a client within the guest: real AF_VSOCK on both sides, by way of `vsock_loopback`.
//!
//! Owns their list and the agent that they speak to, which is another one than the guest's: it serves CID 1, and is
//! ended with the program. Every case leaves that agent at rest: one thread, its first descriptors, the same process.

mod crowd;
mod garbage;
mod half_close;
mod hang_up;
mod input;
mod own_agent;
mod peers;
mod privilege;
mod reset;

use crate::report::{Case, run_cases};
use own_agent::OwnAgent;
use std::process::ExitCode;

const ALL: &[Case<OwnAgent>] = &[
    (
        "peer_that_is_not_allowed_is_closed_without_a_word_and_nothing_runs",
        peers::refused,
    ),
    (
        "peer_rule_holds_for_inherited_listeners_and_connections",
        peers::inherited,
    ),
    ("allowed_peer_is_served_every_operation", peers::allowed),
    (
        "close_ends_a_silent_command_and_its_group_within_a_second",
        hang_up::close,
    ),
    (
        "death_of_the_client_ends_a_silent_command_and_its_group_within_a_second",
        hang_up::death,
    ),
    (
        "close_after_a_half_close_ends_a_silent_command_and_its_group_within_a_second",
        hang_up::close_after_half_close,
    ),
    (
        "death_after_a_half_close_ends_a_silent_command_and_its_group_within_a_second",
        hang_up::death_after_half_close,
    ),
    (
        "close_behind_bytes_that_nobody_asked_for_ends_a_silent_command_within_a_second",
        hang_up::close_behind_bytes,
    ),
    (
        "close_with_the_window_full_ends_the_command_within_a_second",
        input::close,
    ),
    (
        "death_with_the_window_full_ends_the_command_within_a_second",
        input::death,
    ),
    ("input_comes_back_whole_under_credit", input::mirrored),
    (
        "signal_reaches_a_command_behind_a_full_window",
        input::signal,
    ),
    (
        "terminal_has_its_size_and_ends_with_its_client",
        input::terminal,
    ),
    (
        "stream_carries_both_ways_and_each_end_of_them",
        input::stream,
    ),
    (
        "half_closed_client_gets_all_output_and_the_exit_code",
        half_close::output,
    ),
    ("half_closed_client_gets_a_whole_file", half_close::file),
    (
        "waiting_after_a_half_close_takes_under_5_percent_of_a_processor",
        half_close::processor_time,
    ),
    (
        "upload_that_its_client_leaves_midway_leaves_no_file_and_the_target_untouched",
        reset::upload,
    ),
    (
        "reset_in_the_middle_of_64_mib_of_output_ends_the_command",
        reset::output,
    ),
    (
        "client_that_takes_no_output_and_dies_ends_the_command",
        reset::output_not_taken,
    ),
    (
        "64_clients_at_once_are_each_answered_right",
        crowd::answered,
    ),
    (
        "65th_request_waits_for_one_to_end_and_ping_does_not",
        crowd::permits,
    ),
    (
        "193rd_connection_waits_in_the_kernel_and_one_beyond_its_backlog_is_refused",
        crowd::connections,
    ),
    (
        "first_frame_that_is_no_request_is_refused_with_the_reason",
        garbage::refused,
    ),
    (
        "frame_of_a_promised_4_gib_is_refused_at_its_header",
        garbage::promised,
    ),
    (
        "request_cut_short_costs_its_own_connection_alone",
        garbage::cut_short,
    ),
    (
        "silent_clients_are_closed_and_lock_nobody_out",
        garbage::silent,
    ),
    (
        "user_of_the_guest_is_closed_without_a_word_at_each_cid_of_the_guests",
        privilege::loopback,
    ),
    (
        "user_of_the_guest_cannot_take_the_agents_port_or_the_hosts_cid",
        privilege::port,
    ),
    (
        "unix_socket_of_an_agent_takes_no_other_user",
        privilege::unix,
    ),
    (
        "processes_of_the_agent_and_process_1_give_a_user_nothing",
        privilege::agents_processes,
    ),
    (
        "command_of_a_user_gives_that_user_nothing_before_it_executes",
        privilege::starting,
    ),
    (
        "command_of_a_user_has_no_capability_no_group_and_no_descriptor_of_roots",
        privilege::given,
    ),
    (
        "what_a_user_puts_in_a_targets_place_is_replaced_and_what_it_leads_to_untouched",
        privilege::target,
    ),
    (
        "temporary_names_that_a_user_swaps_for_links_touch_nothing_behind_them",
        privilege::swapped,
    ),
    (
        "set_group_id_file_is_no_users_to_write_while_it_is_put",
        privilege::set_group_id,
    ),
    (
        "file_that_is_put_is_no_users_to_write_or_keep",
        privilege::kept,
    ),
    (
        "link_of_a_user_in_tmp_leads_no_upload_and_no_download",
        privilege::in_tmp,
    ),
    (
        "link_in_a_users_own_folder_leads_what_the_host_does_as_root_and_not_what_it_does_as_that_user",
        privilege::followed,
    ),
    (
        "image_gives_users_no_set_user_id_file_and_nothing_to_write",
        privilege::image_files,
    ),
    (
        "kernel_is_told_to_follow_no_links_of_other_users_in_sticky_folders",
        privilege::settings,
    ),
    (
        "user_types_nothing_on_a_terminal_from_linux_6_2_on_and_what_it_likes_before",
        privilege::pushed,
    ),
    (
        "terminal_of_another_user_is_closed_to_a_user",
        privilege::of_another,
    ),
    (
        "terminal_that_a_user_keeps_open_is_nobody_elses_later",
        privilege::held,
    ),
];

/// Runs the cases whose name has `only` in it.
pub(crate) fn run(only: &str) -> ExitCode {
    let agent = match OwnAgent::start() {
        Ok(agent) => agent,
        Err(reason) => {
            eprintln!("smolvm-e2e: cannot start an agent: {reason}");
            return ExitCode::from(1);
        }
    };
    let outcome = run_cases(&agent, ALL, only);
    if outcome != ExitCode::SUCCESS {
        eprintln!("the agent's log:\n{}", agent.last_lines());
    }
    outcome
}
