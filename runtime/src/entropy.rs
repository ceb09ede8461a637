//! The only source of randomness: the operating system's.

/// Random bytes. The operating system's source cannot fail on a system that has booted; a process without it must not go
/// on, for its logins could be foretold.
pub fn fill(buffer: &mut [u8]) {
    getrandom::fill(buffer).expect("the operating system gives random bytes");
}

pub fn bytes<const N: usize>() -> [u8; N] {
    let mut buffer = [0; N];
    fill(&mut buffer);
    buffer
}
