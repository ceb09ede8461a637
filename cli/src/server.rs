//! The proxy in this process: the one place where the command line calls the runtime.

use std::future::Future;

use lockstep_runtime::config::Config;

use crate::exit::Stop;

pub struct Running;

impl Running {
    pub async fn drain(self) {}
}

/// Runs what serves: the proxy's actors live as long as this future.
pub fn block_on<T>(future: impl Future<Output = Result<T, Stop>>) -> Result<T, Stop> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Stop::bad(format!("this process cannot be set up: {error}")))?;
    tokio::task::LocalSet::new().block_on(&runtime, future)
}

pub async fn start(config: Config) -> Result<Running, Stop> {
    Err(Stop::bad(format!("{}: nothing to serve with", config.file.display())))
}
