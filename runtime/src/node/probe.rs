//! Attempts to reach a node.

use std::sync::Arc;
use std::time::Duration;

use lockstep_core::cluster::health::Observation;

use super::standing::{Standing, StandingFault};
use crate::config::{Config, Node};
use crate::service::{self, ServiceFault, within};

/// A busy server may be slow to let somebody in (it forks a process and reads its catalogs, in competition with all
/// others): while its standing connection answers, a node has this many time-outs for a login.
const PATIENCE: u32 = 10;

/// How often the pulse is felt in a time-out, while something else is waited for.
const PULSES: u32 = 8;

/// What can be tried on a node. A trait so that the actor can be tested without one.
pub trait Probe {
    /// A round trip on the standing connection, and a knock at the door.
    fn standing(&self) -> impl Future<Output = Observation>;
    /// A new login and a round trip; with `write`, a small commit as well, for a stuck disk still answers reads.
    fn fresh(&self, write: bool) -> impl Future<Output = Observation>;
    /// The node is not in use: nothing is held open on it.
    fn rest(&self) -> impl Future<Output = ()>;
}

/// Tries the real node, under the service role.
#[derive(Debug)]
pub struct ServiceProbe {
    config: Arc<Config>,
    node: Node,
    standing: Arc<Standing>,
}

impl ServiceProbe {
    pub fn new(config: Arc<Config>, node: Node, standing: Arc<Standing>) -> Self {
        Self { config, node, standing }
    }

    async fn log_in_and_ask(&self) -> Result<service::Line, ServiceFault> {
        let (service, node) = (&self.config.service, &self.node);
        within(self.patience(), async {
            let line = service::dial(service, node, &service.database, self.patience()).await?;
            line.simple_query("SELECT 1").await?;
            Ok(line)
        })
        .await
    }

    /// Ends when the standing connection does not answer in time either, soon after its last answer in time.
    async fn silence(&self) -> Observation {
        loop {
            let limit = self.config.health.now().timeout;
            let (in_time, pause) = (tokio::time::sleep(limit), tokio::time::sleep(limit / PULSES));
            if !self.standing.pulse(limit).await {
                in_time.await;
                return Observation::Silent(format!("no answer within {limit:?}"));
            }
            pause.await;
        }
    }

    /// Ends when the postmaster does not even make a process for a new connection.
    async fn shut(&self) -> Observation {
        let health = self.config.health.now();
        let limit = health.timeout * health.retries.saturating_sub(1).max(2);
        match self.knock(limit).await {
            Err(ServiceFault::Timeout(limit)) => {
                Observation::Shut(format!("it answers old connections, but no new one within {limit:?}"))
            }
            // What it has to say is for the login to hear.
            _ => std::future::pending().await,
        }
    }

    async fn write(&self, line: &service::Line) -> Observation {
        let commit = async { Ok(line.simple_query("SELECT pg_logical_emit_message(true, 'lockstep', '')").await?) };
        match within(self.config.health.now().disk_timeout, commit).await {
            // It answers, and reads; only its disk does not.
            Err(ServiceFault::Timeout(limit)) => {
                Observation::Stuck(format!("a small write took longer than {limit:?}"))
            }
            Err(fault) => fault.observation(),
            Ok(_) => Observation::Answered,
        }
    }

    async fn knock(&self, limit: Duration) -> Result<(), ServiceFault> {
        within(limit, service::knock(&self.node)).await
    }

    fn patience(&self) -> Duration {
        self.config.health.now().timeout * PATIENCE
    }
}

impl Probe for ServiceProbe {
    async fn standing(&self) -> Observation {
        // A stopped postmaster still serves old sessions.
        let (felt, knocked) = tokio::join!(self.standing.feel(), self.knock(self.config.health.now().timeout));
        match (felt, knocked) {
            (Ok(()), Ok(())) => Observation::Answered,
            (Err(fault), _) => observation(fault),
            (Ok(()), Err(fault)) => fault.observation(),
        }
    }

    async fn fresh(&self, write: bool) -> Observation {
        let login = tokio::select! {
            biased;
            login = self.log_in_and_ask() => login,
            silence = self.silence() => return silence,
            shut = self.shut() => return shut,
        };
        let line = match login {
            Ok(line) => line,
            Err(ServiceFault::Timeout(limit)) => {
                return Observation::Shut(format!("it answers old connections, but no login within {limit:?}"));
            }
            Err(fault) => {
                self.standing.hear(&fault);
                return fault.observation();
            }
        };
        // The standing connection may have broken while the node lives: it is dialled again here, guard and all.
        if let Err(fault @ (StandingFault::Taken(_) | StandingFault::Retired)) = self.standing.line().await {
            return observation(fault);
        }
        if !write {
            return Observation::Answered;
        }
        tokio::select! {
            biased;
            written = self.write(&line) => written,
            silence = self.silence() => silence,
        }
    }

    async fn rest(&self) {
        self.standing.leave().await;
    }
}

fn observation(fault: StandingFault) -> Observation {
    match fault {
        StandingFault::Service(fault) => fault.observation(),
        StandingFault::Taken(_) => Observation::Taken(fault.to_string()),
        StandingFault::Retired => Observation::Down(fault.to_string()),
    }
}
