//! Two servers, a configuration, and the proxy in this process: what the story needs before it can begin.

use std::time::Duration;

use lockstep_runtime::config::Config;

use super::load::SCHEMA;
use super::place::{Place, secret};
use super::programs::Programs;
use super::server::{SUPERUSER, Server, free_ports};
use crate::config::{self, UsersFile};
use crate::exit::Stop;
use crate::postgres::{Failure, Login};
use crate::server::{self, Running};

pub const DATABASE: &str = "shop";
pub const APPLICATION: &str = "app";

pub struct Stage {
    /// The preferred node first.
    pub servers: [Server; 2],
    pub config: Config,
    /// The application's, through the proxy.
    pub login: Login,
}

impl Stage {
    /// Servers and configuration; nothing of ours serves yet.
    pub async fn build(place: &Place, programs: &Programs) -> Result<Self, Stop> {
        let [alpha, beta, listen, http] = free_ports()?;
        let service = secret(16)?;
        let server =
            |name: &'static str, port| Server { name, port, data: place.path.join(name), password: service.clone() };
        let servers = [server("alpha", alpha), server("beta", beta)];
        let password = secret(4)?;
        let verifier = make_servers(place, programs, &servers, &password).await?;
        place.write("users", &format!("{APPLICATION}:{verifier}\n"))?;
        let file = place.write("lockstep.toml", &configuration(place, programs, &servers, listen, http))?;
        let config = config::load_or_stop(Some(&file), UsersFile::Needed)?;
        let login = Login {
            host: "127.0.0.1".into(),
            port: listen,
            user: APPLICATION.into(),
            password: Some(password),
            database: DATABASE.into(),
            timeout: Duration::from_secs(30),
        };
        Ok(Self { servers, config, login })
    }

    pub async fn serve(&self) -> Result<Running, Stop> {
        server::start(self.config.clone()).await
    }

    /// The application's tables, made through the proxy like everything of the application's.
    pub async fn make_tables(&self) -> Result<(), Stop> {
        let connection = self.login.connect().await.map_err(|failure| through_proxy(&failure))?;
        connection.query(SCHEMA).await.map_err(|failure| through_proxy(&failure)).map(drop)
    }
}

fn through_proxy(failure: &Failure) -> Stop {
    Stop::bad(format!("through the proxy: {failure}"))
}

/// The second is a copy of the first, so that both begin equal. Gives the application's verifier.
async fn make_servers(
    place: &Place,
    programs: &Programs,
    [first, second]: &[Server; 2],
    password: &str,
) -> Result<String, Stop> {
    first.make(place, programs).await?;
    first.start(place, programs).await?;
    let role = format!("CREATE ROLE {APPLICATION} LOGIN PASSWORD '{password}'");
    let database = format!("CREATE DATABASE {DATABASE} OWNER {APPLICATION}");
    let verifier = format!("SELECT rolpassword FROM pg_authid WHERE rolname = '{APPLICATION}'");
    let mut rows = Vec::new();
    for sql in [role, database, verifier] {
        rows = first.ask("postgres", &sql).await.map_err(|failure| Stop::bad(format!("{}: {failure}", first.name)))?;
    }
    first.stop(place, programs).await?;
    second.copy(place, first).await?;
    first.start(place, programs).await?;
    second.start(place, programs).await?;
    let verifier = rows.into_iter().flatten().flatten().next();
    verifier.ok_or_else(|| Stop::bad(format!("{} stores no password", first.name)))
}

fn configuration(place: &Place, programs: &Programs, servers: &[Server; 2], listen: u16, http: u16) -> String {
    let [alpha, beta] = servers;
    let node = |server: &Server, weight: u32| {
        let run_as = place.owner.name().map(|name| format!("run_as         = {name:?}\n")).unwrap_or_default();
        format!(
            "\n[[node]]\nname    = {name:?}\naddress = \"127.0.0.1:{port}\"\nweight  = {weight}\n\n\
             [node.recovery]\n{run_as}data_directory = {data:?}\nbin_directory  = {bin:?}\nstart          = {start:?}\n",
            name = server.name,
            port = server.port,
            data = server.data.display().to_string(),
            bin = programs.directory.display().to_string(),
            // An operator's own line runs as whoever runs the shell.
            start = place.owner.line(&server.start_line(programs)),
        )
    };
    format!(
        "[listen]\naddress = \"127.0.0.1:{listen}\"\nmax_clients = 100\n\n\
         [control]\nsocket = \"control.sock\"\nhttp   = \"127.0.0.1:{http}\"\n\n\
         [cluster]\nname      = \"demo\"\nstate_dir = \"state\"\n\n\
         [service]\nuser     = {SUPERUSER:?}\npassword = {password:?}\n\n\
         [auth]\nusers_file = \"users\"\n{first}{second}",
        password = alpha.password,
        first = node(alpha, 2),
        second = node(beta, 1),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_that_it_writes_is_one_that_it_reads() {
        let place = Place::make().unwrap();
        let programs = Programs { directory: "/usr/lib/postgresql/15/bin".into(), version: "15.6".into() };
        let server =
            |name: &'static str, port| Server { name, port, data: place.path.join(name), password: "secret".into() };
        place.write("users", "app:secret\n").unwrap();
        let text = configuration(&place, &programs, &[server("alpha", 21_001), server("beta", 21_002)], 21_003, 21_004);
        let file = place.write("lockstep.toml", &text).unwrap();
        let config = config::load(Some(&file), UsersFile::Needed).unwrap();
        assert_eq!(config.listen.address.port(), 21_003);
        let nodes: Vec<_> = config.nodes.iter().map(|node| (node.name.as_str(), node.port, node.weight)).collect();
        assert_eq!(nodes, [("alpha", 21_001, 2), ("beta", 21_002, 1)]);
        let start = config.nodes[1].recovery.as_ref().unwrap().start.clone().unwrap();
        assert!(start.contains("-p 21002") && start.ends_with("start"), "{start}");
    }
}
