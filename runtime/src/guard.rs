//! The DNS guard carried out: the name is looked up again and again, and clients are served only while it points here.
//!
//! What the rounds mean is [`lockstep_core::cluster::guard`]'s to say. Who is connected when the service goes elsewhere is
//! ended and not held: a client that reconnects by the name finds the service where it is now, and one that is held would
//! wait for something that does not come.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ProtocolConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::rr::RecordType;
use lockstep_core::cluster::guard::{Guard, Seen};
use lockstep_core::cluster::intake::Place;
use tokio::time::Instant;

use crate::config;
use crate::intake::Intake;
use crate::server::Server;
use crate::session::Control;

const RESOLV_CONF: &str = "/etc/resolv.conf";
const DNS_PORT: u16 = 53;
/// How long a name server may take to answer; it is asked twice.
const ANSWER: Duration = Duration::from_secs(2);
/// How long a round may take, whatever the name servers do.
const ROUND: Duration = Duration::from_secs(15);
/// From one look at who is still connected to the next.
const END_AGAIN: Duration = Duration::from_millis(200);

/// Looks the name up for as long as the proxy runs, and ends who is connected when it goes elsewhere.
pub async fn keep(server: Arc<Server>, settings: config::Guard) {
    tokio::join!(keep_looking(&server.shared().intake, &settings), keep_ending(&server));
}

async fn keep_looking(intake: &Intake, settings: &config::Guard) {
    let mut guard = Guard::new(settings.name.clone(), settings.failures);
    let mut told = None;
    loop {
        let next = Instant::now() + settings.interval;
        let (ours, seen) = round(settings).await;
        let place = match guard.observe(ours, seen) {
            None => Place::Here,
            Some(elsewhere) => Place::Elsewhere(elsewhere.to_string()),
        };
        if told.as_ref() != Some(&place) {
            announce(&settings.name, told.as_ref(), &place);
            intake.is_at(place.clone());
            told = Some(place);
        }
        tokio::time::sleep_until(next).await;
    }
}

/// Again and again, for a session may just be coming in.
async fn keep_ending(server: &Server) {
    loop {
        server.shared().intake.gone_elsewhere().await;
        server.all_sessions().iter().for_each(|session| session.do_send(Control::End));
        tokio::time::sleep(END_AGAIN).await;
    }
}

/// One look, for who wants to know before anything serves. The error says why clients would not be served.
pub async fn look(settings: &config::Guard) -> Result<(), String> {
    let mut guard = Guard::new(settings.name.clone(), settings.failures);
    let (ours, seen) = round(settings).await;
    guard.observe(ours, seen).map_or(Ok(()), |elsewhere| Err(elsewhere.to_string()))
}

fn announce(name: &str, before: Option<&Place>, now: &Place) {
    match (before, now) {
        (_, Place::Elsewhere(why)) => {
            tracing::error!(why, "clients are not served: the service is not known to be here")
        }
        (None, _) => tracing::info!(name, "the name points here"),
        (Some(_), _) => tracing::warn!(name, "the name points here again; clients are served"),
    }
}

/// The addresses that count as here, and what the name is known to be.
async fn round(settings: &config::Guard) -> (Vec<IpAddr>, Seen) {
    let ours = if settings.addresses.is_empty() { of_this_machine() } else { Ok(settings.addresses.clone()) };
    match ours {
        Ok(ours) => {
            let looked_up = tokio::time::timeout(ROUND, look_up(settings)).await;
            (ours, looked_up.unwrap_or_else(|_| Seen::Unknown(format!("no answer within {} s", ROUND.as_secs()))))
        }
        Err(error) => (Vec::new(), Seen::Unknown(format!("the addresses of this machine are not known: {error}"))),
    }
}

async fn look_up(settings: &config::Guard) -> Seen {
    let resolver = match resolver(settings) {
        Ok(resolver) => resolver,
        Err(why) => return Seen::Unknown(why),
    };
    let name = fully_qualified(&settings.name);
    let (v4, v6) = tokio::join!(resolver.lookup(&*name, RecordType::A), resolver.lookup(&*name, RecordType::AAAA));
    Seen::both(seen(v4), seen(v6))
}

/// A name that is there without an address of this kind, or is not there, is an error to the resolver. An answer that points
/// on to another name, or to another server, and no further, says nothing.
fn seen(answer: Result<Lookup, NetError>) -> Seen {
    match answer {
        Ok(lookup) => {
            let addresses: Vec<_> = lookup.answers().iter().filter_map(|record| record.data.ip_addr()).collect();
            if addresses.is_empty() {
                Seen::Unknown("an answer without an address".into())
            } else {
                Seen::Addresses(addresses)
            }
        }
        Err(NetError::Dns(DnsError::NoRecordsFound(none))) if none.soa.is_none() && none.ns.is_some() => {
            Seen::Unknown("the name server refers to others".into())
        }
        Err(error) if error.is_no_records_found() => Seen::Addresses(Vec::new()),
        Err(error) => Seen::Unknown(error.to_string()),
    }
}

/// No search domain is to be put behind it: another name is another service.
fn fully_qualified(name: &str) -> String {
    format!("{}.", name.trim_end_matches('.'))
}

/// A new one for each round: name servers change while a proxy runs, and nothing is to be remembered.
fn resolver(settings: &config::Guard) -> Result<TokioResolver, String> {
    let servers = if settings.servers.is_empty() {
        of_the_system().map_err(|error| format!("{RESOLV_CONF}: {error}"))?
    } else {
        settings.servers.clone()
    };
    let config = ResolverConfig::from_name_servers(servers.into_iter().map(name_server).collect());
    let mut options = ResolverOpts::default();
    options.timeout = ANSWER;
    options.attempts = 1;
    options.cache_size = 0;
    options.use_hosts_file = ResolveHosts::Never;
    let builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default()).with_options(options);
    builder.build().map_err(|error| error.to_string())
}

fn name_server(address: SocketAddr) -> NameServerConfig {
    let connection = |protocol| {
        let mut connection = ConnectionConfig::new(protocol);
        connection.port = address.port();
        connection
    };
    let connections = [ProtocolConfig::Udp, ProtocolConfig::Tcp].map(connection);
    NameServerConfig::new(address.ip(), true, connections.into())
}

fn of_the_system() -> io::Result<Vec<SocketAddr>> {
    let servers = name_servers(&std::fs::read_to_string(RESOLV_CONF)?);
    if servers.is_empty() { Err(io::Error::other("it names no server")) } else { Ok(servers) }
}

fn name_servers(resolv_conf: &str) -> Vec<SocketAddr> {
    let server = |line: &str| {
        let mut words = line.split_whitespace();
        let address = words.next().filter(|word| *word == "nameserver").and(words.next())?;
        Some(SocketAddr::new(address.parse().ok()?, DNS_PORT))
    };
    resolv_conf.lines().filter_map(server).collect()
}

/// But for those of the loopback, which every machine has.
fn of_this_machine() -> io::Result<Vec<IpAddr>> {
    let addresses = nix::ifaddrs::getifaddrs()?.filter_map(|interface| {
        let address = interface.address?;
        let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
    });
    Ok(addresses.filter(|address| !address.is_loopback()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_servers_are_read_as_the_system_reads_them() {
        let text =
            "# made by hand\nsearch example.com\nnameserver 192.0.2.53\n nameserver\t2001:db8::53 \nnameserver x\n";
        let expected = ["192.0.2.53:53", "[2001:db8::53]:53"].map(|address| address.parse().unwrap());
        assert_eq!(name_servers(text), expected);
    }

    #[test]
    fn a_name_is_taken_as_it_stands() {
        assert_eq!(fully_qualified("db.example.com"), "db.example.com.");
        assert_eq!(fully_qualified("db.example.com."), "db.example.com.");
    }
}
