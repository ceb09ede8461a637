//! Faults that are put in on purpose, to see that they are found.
//!
//! They are the shell's, not the core's: the core has no line that is there for a test. Measured over seeds from 0 on (the
//! test `each_planted_fault_is_found` keeps these bounds):

/// What the shell does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Followers are sent their batches, and the leader its COMMIT, without waiting for an answer.
    AllAtOnce,
    /// The client's texts are sent to followers, not their effects.
    QueriesRepeated,
    /// Besides the effects followers are sent the texts that changed no row.
    ZeroRowsSent,
    /// Everybody enters the commit lock at once.
    LockIgnored,
    /// Nobody levels the followers' sequences.
    SequencesForgotten,
    /// A new leader's sequences are not moved past what the old one may have given out.
    SequencesNotMovedOn,
    /// A batch whose connection broke before its answer is sent again.
    DoubtTriedAgain,
    /// A degraded node is written down after the client has been told.
    DegradedLate,
    /// The members are read before the lock is waited for.
    MembersReadEarly,
}

/// With a number of seeds among which each is found.
pub const FAULTS: [(Fault, u64); 9] = [
    (Fault::AllAtOnce, 5000),
    (Fault::QueriesRepeated, 5000),
    (Fault::ZeroRowsSent, 5000),
    (Fault::LockIgnored, 5000),
    (Fault::SequencesForgotten, 5000),
    (Fault::SequencesNotMovedOn, 5000),
    (Fault::DoubtTriedAgain, 5000),
    (Fault::DegradedLate, 5000),
    (Fault::MembersReadEarly, 5000),
];
