//! A unit: a write transaction over all nodes.
