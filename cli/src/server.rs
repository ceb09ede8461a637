//! The proxy in this process: the one place where the command line calls the runtime.

use std::future::Future;

use lockstep_runtime::ServeFault;
use lockstep_runtime::cluster::StartFault;
use lockstep_runtime::config::Config;

use crate::exit::{Exit, Stop};

pub use lockstep_runtime::Service as Running;

/// Runs what serves: the proxy's actors live as long as this future.
pub fn block_on<T>(future: impl Future<Output = Result<T, Stop>>) -> Result<T, Stop> {
    actix::System::new().block_on(future)
}

pub async fn start(config: Config) -> Result<Running, Stop> {
    loop {
        if config.standby {
            lockstep_runtime::cluster::stand_by(&config).await;
        }
        match lockstep_runtime::serve(config.clone()).await {
            // Another one that stood by was quicker.
            Err(ServeFault::Cluster(StartFault::AnotherProxy { .. })) if config.standby => {}
            outcome => return outcome.map_err(stop),
        }
    }
}

fn stop(fault: ServeFault) -> Stop {
    let what = fault.to_string();
    match fault {
        ServeFault::UsersFile { .. } | ServeFault::Users { .. } => Stop::new(Exit::Usage, what),
        ServeFault::Listen { .. } => Stop::bad(what).remedy("stop what listens there, or set listen.address"),
        ServeFault::Cluster(_) => Stop::bad(what).remedy("`lockstep check` looks at configuration and nodes"),
    }
}
