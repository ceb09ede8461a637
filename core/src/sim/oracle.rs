//! What must be true, whatever has happened.

use super::belief::Belief;
use super::client::{Outcome, Unit};
use super::schema::{TABLES, table};
use super::seat::Seat;
use super::workload::ACCOUNTS;
use super::world::World;
use crate::id::NodeId;

/// Errors that tell of a takeover or a lost connection; the last one of a savepoint that went with it.
const OF_ACCIDENTS: [&str; 6] = ["40001", "08006", "53300", "57P01", "57P03", "3B001"];
/// What the small tables give cause for on a single server.
const OF_SERVERS: [&str; 5] = ["23505", "23503", "40001", "40P01", "25P02"];

impl World {
    /// A unit that was acknowledged is at that moment on every node that is said to hold everything.
    pub(super) fn check_everywhere(&mut self, seat: usize, unit: i64) {
        let ledger = table("ledger").unwrap_or_default();
        let has = |node: &NodeId| {
            let rows = self.nodes[usize::from(node.0)].store.committed(ledger);
            rows.iter().any(|row| row[0] == Some(unit))
        };
        let missing = self.cluster.membership.current().find(|node| !has(node));
        if let Some(node) = missing {
            self.fail(format!("s{seat}: unit {unit} was acknowledged and is not on {node}"));
        }
    }

    /// Before anybody is served again: what clients were told is there, and active nodes are equal.
    pub(super) fn check_start(&mut self) {
        let told = |unit: &&Unit| unit.outcome == Outcome::Committed && unit.entered;
        let units = |seat: &Seat| seat.client.units.iter().filter(told).map(|unit| unit.id).collect::<Vec<_>>();
        for seat in 0..self.seats.len() {
            units(&self.seats[seat]).into_iter().for_each(|unit| self.check_everywhere(seat, unit));
        }
        let active: Vec<usize> = self.cluster.membership.active().map(|node| usize::from(node.0)).collect();
        for pair in active.windows(2) {
            self.compare(pair[0], pair[1]);
        }
    }

    /// A client that was told that it has an advisory lock has it, with the leader of the moment, and nobody else was found
    /// to have it since. Not of one whose session is about to be brought over, or to end.
    pub(super) fn check_locks(&mut self, seat: usize) {
        let of = &self.seats[seat];
        let Some(link) = of.leader.filter(|_| !of.closed && of.asked.is_empty()) else { return };
        let backend = self.backend_of(link);
        if !self.leads(NodeId(link.node as u16)) || !backend.rests() {
            return;
        }
        for Belief { key, times, since } in of.client.locks.all(backend.is_in_block()) {
            let held = self.backend_of(link).holds(key, &self.nodes[link.node].store);
            if held < times {
                self.fail(format!("s{seat} was told that it has lock {key}, and has not"));
            }
            let found = self.holders.insert(key, (seat, self.moment));
            if found.is_some_and(|(other, moment)| other != seat && moment > since) {
                self.fail(format!("s{seat} goes on with lock {key}, which another has had meanwhile: {found:?}"));
            }
        }
    }

    /// A client is told an error only if a server gave it, or if something had happened.
    pub(super) fn check_error(&mut self, seat: usize, state: &str, message: &str) {
        let mut raised = self.seats[seat].leaders.iter().flat_map(|link| &self.backend_of(*link).raised);
        let of_server = raised.any(|raised| *raised == state);
        if of_server && OF_SERVERS.contains(&state) || self.disturbed && OF_ACCIDENTS.contains(&state) {
            return;
        }
        self.fail(format!("s{seat}: the client was told {state}: {message}"));
    }

    /// An effect is something that can be done.
    pub(super) fn refused_by_follower(&mut self, seat: usize, node: NodeId, state: &str, message: &str) {
        let why = format!("s{seat}: follower {node} could not do what the leader did: {state} {message}");
        self.note(|| why.clone());
        if !self.disturbed {
            self.fail(why);
        }
    }

    /// Nothing happens any more: all is to be done, and the same everywhere.
    pub(super) fn judge(&mut self) {
        if let Some(seat) = self.seats.iter().position(|seat| !seat.closed) {
            let waits = self.nodes.iter().map(|node| (node.name, node.backends.iter().filter(|b| b.waits()).count()));
            let waits: Vec<_> = waits.collect();
            return self.fail(format!("s{seat} waits for ever; backends that wait: {waits:?}"));
        }
        let leader = self.cluster.membership.leader().filter(|leader| self.nodes[usize::from(leader.0)].up);
        if leader.is_some() && self.seats.iter().any(|seat| seat.returns) {
            return self.fail("a client waits for ever to be let in".into());
        }
        if self.admission.is_some() {
            return self.fail("a node waits for ever to be compared".into());
        }
        // With nobody left, those who were the last.
        let active: Vec<usize> = self.cluster.membership.current().map(|node| usize::from(node.0)).collect();
        let Some(first) = active.first().copied() else { return self.fail("nobody has everything any more".into()) };
        for node in &active {
            if !self.nodes[*node].store.is_quiet() {
                return self.fail(format!("a transaction is left open on {}", self.nodes[*node].name));
            }
        }
        for other in &active[1..] {
            self.compare(first, *other);
        }
        self.count(first);
        self.tickets();
    }

    fn compare(&mut self, first: usize, other: usize) {
        let (a, b) = (&self.nodes[first], &self.nodes[other]);
        let differs = (0..TABLES.len()).find(|table| a.store.committed(*table) != b.store.committed(*table));
        let names = (a.name, b.name);
        if let Some(table) = differs {
            let rows = [a.store.committed(table), b.store.committed(table)];
            let why = format!("{} and {} differ in {}: {:?}", names.0, names.1, TABLES[table].name, rows);
            return self.fail(why);
        }
        let (here, there) = (a.store.positions(), b.store.positions());
        if here != there {
            self.fail(format!("{} and {} differ in sequences: {here:?}, {there:?}", names.0, names.1));
        }
    }

    /// What clients were told is there, and nothing else.
    fn count(&mut self, node: usize) {
        let rows = |name: &str| self.nodes[node].store.committed(table(name).unwrap_or_default());
        let (ledger, accounts) = (rows("ledger"), rows("account"));
        let (mut least, mut most) = ([0; ACCOUNTS], [0; ACCOUNTS]);
        let mut wrong = Vec::new();
        for unit in self.seats.iter().flat_map(|seat| &seat.client.units) {
            let there = ledger.iter().any(|row| row[0] == Some(unit.id));
            let counts = match unit.outcome {
                Outcome::Committed => true,
                Outcome::Aborted => false,
                Outcome::Open | Outcome::Unknown => there,
            };
            // Of one in doubt it may not be known what it has done, nor whether.
            let told = matches!(unit.outcome, Outcome::Committed | Outcome::Aborted);
            let certain = told || unit.entered && unit.unheard.is_none();
            if (unit.entered && counts || unit.outcome == Outcome::Aborted) && there != counts {
                wrong.push(format!("unit {} is {:?} and there: {there}", unit.id, unit.outcome));
            }
            for (account, amount) in unit.adds.iter().filter(|_| counts && certain) {
                least[*account as usize] += amount;
            }
            let all = unit.adds.iter().chain(unit.unheard.iter().flatten());
            for (account, amount) in all.filter(|_| counts || !certain) {
                most[*account as usize] += amount;
            }
        }
        let counted: Vec<i64> = accounts.iter().map(|row| row[1].unwrap_or_default()).collect();
        if (0..ACCOUNTS).any(|n| !(least[n]..=most[n]).contains(&counted[n])) {
            wrong.push(format!("accounts hold {counted:?}, and clients have put {least:?} to {most:?} there"));
        }
        wrong.into_iter().for_each(|why| self.fail(why));
    }

    /// No value of a sequence is given out twice.
    fn tickets(&mut self) {
        let mut tickets: Vec<i64> = self.seats.iter().flat_map(|seat| seat.client.tickets.iter().copied()).collect();
        tickets.sort_unstable();
        if let Some(pair) = tickets.windows(2).find(|pair| pair[0] == pair[1]) {
            self.fail(format!("ticket {} was given out twice", pair[0]));
        }
    }
}
