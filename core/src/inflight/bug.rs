//! Faults that the models must find; see the commit lock's.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(all(test, lockstep_loom)), allow(dead_code, reason = "only the models look at the name"))]
pub(super) enum Bug {
    /// Who looks does not look at his own connection.
    OwnForgotten,
    /// Bytes are taken without a word before.
    ReadUnmarked,
    /// The waker is stored after the mutex was let go of and taken again.
    LostWakeup,
    /// Nobody is woken when one is trusted again.
    TrustUnheard,
    /// Nobody is woken when one leaves.
    LeftUnheard,
    /// The model's commits look before they enter.
    LooksFirst,
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
