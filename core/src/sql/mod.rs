//! SQL text: what is meant, by PostgreSQL's own grammar, and cheaply recognised again.
