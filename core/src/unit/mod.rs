//! A unit: a write transaction over all nodes, explicit or made for one autocommit statement.
//!
//! [`Log`] gathers the effects while statements run on the leader; [`Batch`] is what each follower is sent at COMMIT;
//! [`Commit`] decides in which order nodes commit and what a failure on the way means.
//!
//! ```text
//! statements on the leader ─▶ Log ──COMMIT──▶ Batch ─▶ every follower ─▶ leader's COMMIT ─▶ the client is told
//! ```
//!
//! Invariants: no follower is sent a COMMIT before the leader has executed everything (R1 needs the leader's locks);
//! the leader commits only when every follower has committed or is out, and being out is on disk (`Commit` asserts it); no
//! batch goes out while a unit in flight may have lost the leader's locks (`crate::inflight`).

pub mod batch;
pub mod commit;
pub mod diary;
pub mod log;
pub mod stall;

pub use batch::{Answer, Batch};
pub use commit::{Commit, Order, Outcome};
pub use diary::{Diary, Recital, Retold};
pub use log::{Log, Mark};
