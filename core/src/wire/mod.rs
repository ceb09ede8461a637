//! Frames of the PostgreSQL protocol 3.0 and 3.2: bytes ⇄ messages.
//!
//! Owns framing and the layout of messages; knows nothing of what they mean. Source: PostgreSQL documentation, chapter
//! "Frontend/Backend Protocol", section "Message Formats".
//!
//! Invariants: a frame is never cut before all its bytes are there; a length outside the caller's cap is a typed error
//! before any of the body is read; no input panics (fuzz targets `frame`, `startup`, `frontend`, `backend`).
//!
//! | file | |
//! | --- | --- |
//! | `frame` | cut a tagged frame off a buffer |
//! | `startup` | the untagged first packet |
//! | `frontend` | client → server: read and write |
//! | `backend` | server → client: read and write |
//! | `notice` | fields of ErrorResponse and NoticeResponse |
//! | `cursor` | bounded reading inside one frame |
//!
//! To add a message type: a tag constant and a reader or writer in `frontend` or `backend`, a round trip in its tests.

pub mod backend;
pub mod cursor;
pub mod frame;
pub mod frontend;
pub mod notice;
pub mod startup;

pub use cursor::Cursor;
pub use frame::{Frame, FrameFault, take_frame};

/// What was wrong with the inside of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("the message ends too early")]
    Short,
    #[error("the message has bytes after its end")]
    Trailing,
    #[error("a string in the message has no terminating NUL")]
    Unterminated,
    #[error("a string in the message is not valid UTF-8")]
    NotUtf8,
    #[error("a count or length in the message is negative")]
    Negative,
    #[error("the message has an invalid value in its field \"{0}\"")]
    Field(&'static str),
}
