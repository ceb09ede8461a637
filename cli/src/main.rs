use std::process::ExitCode;

fn main() -> ExitCode {
    lockstep::run(std::env::args_os()).into()
}
