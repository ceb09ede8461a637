//! Both sides of a login: a client's to us ([`login`]), ours to a node ([`dial`]). Entropy is an argument.
//!
//! Sources: PostgreSQL documentation, "SASL Authentication" and "Password Authentication"; RFC 5802 and RFC 7677 (SCRAM).
//! Invariants: nothing secret is shown by `Debug`; secrets are compared in constant time; an unknown user cannot be told
//! from a wrong password; a node's AuthenticationOk is believed only after its SCRAM signature when SCRAM was begun; what a
//! node may say before it is ready is bounded. Tested beside the code, against postgres-protocol in `core/tests/logins`, and
//! by the fuzz targets `scram` and `users`.
//!
//! | file | |
//! | --- | --- |
//! | `users` | the users file: who may log in, and with what |
//! | `md5`, `scram/` | the two exchanges' arithmetic and messages |
//! | `login` | a client logs in to us |
//! | `dial` | we log in to a node |
//! | `key` | what a client's login gives us for the nodes |

pub mod dial;
pub mod key;
pub mod login;
pub mod md5;
pub mod scram;
pub mod users;

pub use key::{KeyCache, NodeKey};
pub use users::{Secret, Users, UsersFault};
