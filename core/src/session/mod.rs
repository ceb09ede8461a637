//! A session: one client and the leader connection that serves it.
