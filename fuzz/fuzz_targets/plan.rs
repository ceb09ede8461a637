//! Any text, on the catalog of the plan tests: no panic, and what is made of a text differs from it only where intended.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| lockstep_fuzz::plan::check(text));
