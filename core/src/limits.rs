//! Every bound, with its unit and its reason. Nothing else in the project holds such a number.

/// Longest message a client may send before it has logged in, in bytes. PostgreSQL's own bound on a startup packet
/// (`MAX_STARTUP_PACKET_LENGTH`, src/include/libpq/pqcomm.h).
pub const STARTUP_PACKET: usize = 10_000;

/// Longest authentication message of a client, in bytes (PostgreSQL: `PG_MAX_AUTH_TOKEN_LENGTH`, 65,535).
pub const AUTH_MESSAGE: usize = 65_535;

/// All that a node may send until we are logged in, in bytes. (libpq takes 30,000 for an error and 2,000 for a request; a
/// server's parameters are some hundred bytes, notices of a login trigger what they are.)
pub const NODE_LOGIN: usize = 256 << 10;

/// Longest message after login, in bytes. PostgreSQL's `PQ_LARGE_MESSAGE_LIMIT` is `MaxAllocSize - 1`, 1 GiB - 2.
pub const MESSAGE: usize = 0x3fff_ffff - 1;

/// Longest SQL text that is parsed, in bytes. A longer one (a bulk INSERT as text) is refused with 54000: the parse tree
/// needs some fifty times the size of the text.
pub const SQL_TEXT: usize = 32 << 20;

/// A unit's log beyond this many bytes goes to a file.
pub const LOG_IN_MEMORY: usize = 1 << 20;

/// Bytes of the keys of a unit's rows beyond which the journal does not name them.
pub const JOURNALLED: usize = 128 << 10;

/// The journal's file, in bytes: it is begun anew when that is full, about every hundred thousand small units.
pub const JOURNAL: usize = 16 << 20;

/// Above this many bytes waiting for a peer, nothing more is read from the other side.
pub const OUT_HIGH_WATER: usize = 256 << 10;

/// What one read from a socket takes at most, in bytes.
pub const READ_CHUNK: usize = 32 << 10;

/// With less room than this left in it, in bytes, a buffer is made larger before it is read into.
pub const READ_LEAST: usize = 8 << 10;

/// Messages of an unfinished segment that are kept so that it can be run again on another leader, in bytes.
pub const SEGMENT_REPLAY: usize = 64 << 10;

/// Statements of one transaction that a new leader would be told again, in bytes; with more it does not go on there.
pub const TOLD_AGAIN: usize = 256 << 10;

/// Advisory locks that a session may have, each as often as it has taken it; with more it is not told a new leader.
pub const LOCKS_TAKEN_AGAIN: usize = 4096;

/// Answers that a client is not told before the end of its segment, so that this can be run again on another leader, in bytes.
/// PostgreSQL keeps as many to itself (`PQ_SEND_BUFFER_SIZE`, src/backend/libpq/pqcomm.c).
pub const ANSWERS_HELD: usize = 8 << 10;

/// A buffer for it that is larger does not stay with a session.
pub const REPLAY_AT_REST: usize = 4 << 10;

/// Rows of a write that wait in a portal until the client asks for them, in bytes. The server would keep them in a file.
pub const ROWS_KEPT: usize = 16 << 20;

/// Statements of one transaction that are planned again before its commit, because the schema was changed while they ran.
pub const OVERTAKEN_PLANS: usize = 64;

/// Prepared statements that a session may hold; more is a leak in the application.
pub const STATEMENTS_PER_SESSION: usize = 100_000;

const _: () = assert!(STARTUP_PACKET < AUTH_MESSAGE && AUTH_MESSAGE < MESSAGE);
const _: () = assert!(READ_CHUNK < OUT_HIGH_WATER && SEGMENT_REPLAY < LOG_IN_MEMORY);

/// Rows that followers apply with one statement, where their order is free.
pub const ROWS_PER_STATEMENT: usize = 64;

/// Most bytes of a statement's rows that must be applied by one statement (a foreign key from a table to itself).
pub const WHOLE_STATEMENT: usize = 64 << 20;

/// Bytes of captured rows that followers apply with one statement, unless rows without a key are gone among them.
pub const CAPTURED_AT_ONCE: usize = 16 << 20;

/// Bytes of what is told of large objects that followers apply with one statement.
pub const OBJECTS_AT_ONCE: usize = 256 << 10;

/// Large objects that one transaction may make or open for writing.
pub const OBJECTS_PER_UNIT: usize = 1 << 18;

/// Bytes of plans that one arbiter keeps.
pub const PLAN_CACHE: usize = 8 << 20;

/// How deep the tree of a SQL text may be: operators, joins and UNIONs in a chain, and brackets, which count four times.
/// Measured (release): 2.5 KiB of stack for an operator, 8.3 KiB for a subquery.
pub const SQL_DEPTH: usize = 320;

/// Bytes of the plans of one text that are kept; more is a script that is run once.
pub const PLAN_CACHE_ENTRY: usize = 64 << 10;
