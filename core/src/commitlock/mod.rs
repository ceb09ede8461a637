//! The shared/exclusive lock of commits.
