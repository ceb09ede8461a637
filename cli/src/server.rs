//! The proxy in this process: the one place where the command line calls the runtime.

use std::future::Future;

use lockstep_runtime::Service;
use lockstep_runtime::config::Config;

use crate::exit::Stop;

/// Runs what serves: the proxy's actors live as long as this future.
pub fn block_on<T>(future: impl Future<Output = Result<T, Stop>>) -> Result<T, Stop> {
    actix::System::new().block_on(future)
}

pub async fn start(config: Config) -> Result<Service, Stop> {
    lockstep_runtime::serve(config).await.map_err(|fault| Stop::bad(fault.to_string()))
}
