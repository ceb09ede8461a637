//! What a client is still owed, in order.
