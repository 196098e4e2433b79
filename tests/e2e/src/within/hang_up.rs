//! A client that goes while its command is silent, in every way in which one can go.

use super::own_agent::OwnAgent;
use crate::client::{Client, LIMIT};
use crate::guest::{Checked, holds};
use crate::process::{group_members, wait_for_group_of, wait_for_groups_end};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

/// Says its number and is silent; a shell, its subshell, and a child of each: four processes of a group.
pub(crate) const SILENT_TREE: &str = "sleep 1000 & (sleep 1000 & wait) & echo $$; wait";
const TREE_MEMBERS: usize = 4;

/// By then nothing of the command may be left.
const END_LIMIT: Duration = Duration::from_secs(1);

/// A process that alone holds a client's socket.
pub(crate) struct Holder(Child);

impl Holder {
    /// Hands a client over.
    pub(crate) fn of(client: Client) -> Result<Self, String> {
        Self::fed(client).map(|(mut holder, input)| {
            holder.0.stdin = Some(input);
            holder
        })
    }

    /// Hands a client over to a process that sends what it is fed.
    pub(crate) fn fed(client: Client) -> Result<(Self, ChildStdin), String> {
        let mut process = Command::new("cat")
            .stdin(Stdio::piped())
            .stdout(Stdio::from(client.into_socket()))
            .spawn()
            .map_err(|error| format!("cat: {error}"))?;
        let input = process.stdin.take().ok_or("cat has no standard input")?;
        Ok((Self(process), input))
    }

    /// Kills the process, whose end closes the socket.
    pub(crate) fn die(mut self) -> Checked {
        let killed = self.0.kill().and_then(|()| self.0.wait());
        killed.map(drop).map_err(|error| error.to_string())
    }
}

/// Starts the silent tree, and gives its group once it is whole.
fn silent_tree(agent: &OwnAgent) -> Result<(Client, u32), String> {
    let mut client = agent.run(SILENT_TREE)?;
    let group = client.first_pid()?;
    wait_for_group_of(group, TREE_MEMBERS, LIMIT)?;
    Ok((client, group))
}

/// Half-closes, and sees that the command does not mind.
fn half_close(agent: &OwnAgent, client: &Client, group: u32) -> Checked {
    client.half_close().map_err(|error| error.to_string())?;
    // Packets arrive in order: what is asked afterwards is answered with the half-close there.
    agent.ping()?;
    let left = group_members(group)?.len();
    holds(
        &format!("{left} of {TREE_MEMBERS} processes are left after a half-close"),
        left == TREE_MEMBERS,
    )
}

fn ends(agent: &OwnAgent, group: u32, how: &str) -> Checked {
    let after = wait_for_groups_end(group, END_LIMIT)?;
    println!(
        "measured: {how}: the group is gone after {} ms",
        after.as_millis()
    );
    agent.rests()
}

pub(crate) fn close(agent: &OwnAgent) -> Checked {
    let (client, group) = silent_tree(agent)?;
    drop(client);
    ends(agent, group, "close")
}

pub(crate) fn death(agent: &OwnAgent) -> Checked {
    let (client, group) = silent_tree(agent)?;
    Holder::of(client)?.die()?;
    ends(agent, group, "SIGKILL")
}

pub(crate) fn close_after_half_close(agent: &OwnAgent) -> Checked {
    let (client, group) = silent_tree(agent)?;
    half_close(agent, &client, group)?;
    drop(client);
    ends(agent, group, "close after a half-close")
}

pub(crate) fn death_after_half_close(agent: &OwnAgent) -> Checked {
    let (client, group) = silent_tree(agent)?;
    half_close(agent, &client, group)?;
    Holder::of(client)?.die()?;
    ends(agent, group, "SIGKILL after a half-close")
}

/// Unread bytes keep the kernel from ending the connection by itself.
pub(crate) fn close_behind_bytes(agent: &OwnAgent) -> Checked {
    let (mut client, group) = silent_tree(agent)?;
    let nobody_asked = vec![0; 1 << 20];
    client
        .write(&nobody_asked)
        .map_err(|error| error.to_string())?;
    drop(client);
    ends(agent, group, "close behind 1 MiB that nobody asked for")
}
