//! Faults that the models must find. A model that passes shows something only if it fails on the fault it is there for.
//!
//! The switch exists in the models' build alone; everywhere else it is a constant `false` and costs nothing.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(all(test, lockstep_loom)), allow(dead_code, reason = "only the models look at the name"))]
pub(super) enum Bug {
    /// An exclusive request enters like a shared one.
    NoExclusion,
    /// The waker is stored after the mutex was let go of and taken again.
    LostWakeup,
    /// A future that is dropped while it waits stays in the line.
    GhostInLine,
    /// A future that is dropped after it was admitted keeps its place inside.
    LeakedGrant,
    /// A newcomer enters although somebody waits.
    Barging,
    /// A pass gives itself back in two critical sections: read, then write.
    TornRelease,
}

#[cfg(not(all(test, lockstep_loom)))]
pub(super) const fn planted(_: Bug) -> bool {
    false
}

/// Whether `LOCKSTEP_BUG` names this fault.
#[cfg(all(test, lockstep_loom))]
pub(super) fn planted(bug: Bug) -> bool {
    static NAME: std::sync::LazyLock<Option<String>> = std::sync::LazyLock::new(|| std::env::var("LOCKSTEP_BUG").ok());
    NAME.as_deref().is_some_and(|name| name == format!("{bug:?}"))
}
