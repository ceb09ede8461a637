//! The catalog queries, one a line: what `tests/plans/regenerate` asks a server.

fn main() {
    lockstep_core::catalog::QUERIES.iter().for_each(|query| println!("{query}"));
}
