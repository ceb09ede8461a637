//! Open files: a process that has none left can neither let a client in, nor look at a node, nor be asked what is wrong.
//!
//! Invariant: clients, logged in or not, leave enough of them for the proxy's own work, and those that are let in leave some
//! for others to be told that there is no room.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// A client's socket, its connection to the leader, and one to a follower while it commits.
const FOR_A_CLIENT: u64 = 3;
/// Doors, health, operators, comparisons, the log.
const OWN: u64 = 64;
/// Connections that are not let in, and are told so: the socket alone.
const TURNED_AWAY: u64 = 32;
/// What is taken where the system sets no limit.
const ENOUGH: u64 = 1 << 20;
/// What a system grants that does not say.
const USUAL: u64 = 1_024;

/// Takes as many as the system grants without asking anybody, and gives how many those are. A shell and a service
/// manager grant few at first, for the sake of old programs.
pub fn raise() -> u64 {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return USUAL };
    let wanted = hard.min(ENOUGH).max(soft);
    match setrlimit(Resource::RLIMIT_NOFILE, wanted, hard) {
        Ok(()) => wanted,
        Err(_) => soft,
    }
}

/// Connections of clients at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    pub files: u64,
    /// That may log in.
    pub clients: usize,
    /// Logged in or not.
    pub connections: usize,
}

pub fn room(files: u64) -> Room {
    let clients = (files.saturating_sub(OWN + TURNED_AWAY) / FOR_A_CLIENT).max(1);
    let number = |files: u64| usize::try_from(files).unwrap_or(usize::MAX);
    Room { files, clients: number(clients), connections: number(clients + TURNED_AWAY) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_leave_files_for_the_proxys_own_work() {
        assert_eq!([1_024, 256, 10].map(|files| room(files).clients), [309, 53, 1]);
        assert_eq!([1_024, 10].map(|files| room(files).connections), [341, 33]);
    }

    #[test]
    fn what_is_granted_is_taken() {
        let taken = raise();
        assert_eq!(getrlimit(Resource::RLIMIT_NOFILE).map(|(soft, _)| soft), Ok(taken));
    }
}
