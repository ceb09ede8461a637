//! Faults that the models must find; see the commit lock's.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(all(test, lockstep_loom)), allow(dead_code, reason = "only the models look at the name"))]
pub(super) enum Bug {
    /// A new leader serves as soon as anybody is there.
    FirstIsEnough,
    /// Nobody is told that he is waited for no longer.
    LateUnmarked,
    /// Who enters under a former leader is in time, whoever is served.
    EntersInTime,
    /// Whether one is late is asked before the mutex is let go of and taken again.
    TornArrival,
    /// The waker is stored after the mutex was let go of and taken again.
    LostWakeup,
    /// Nobody is woken when one arrives.
    ArrivalUnheard,
    /// Nobody is woken when one is over.
    VanishedUnheard,
    /// Who is over keeps his place.
    GhostHeir,
    /// Nobody is woken when somebody waits no longer.
    GivenUpUnheard,
    /// Who is served by a leader whose end has been said makes that end forgotten.
    LastMomentsForgotten,
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
