//! The sequence leveller: keeps followers' sequences where the leader's are, and moves a new leader's past what the old
//! one may have given out.
//!
//! No unit takes a sequence along: every draw and `setval` reaches the followers through the leveller alone, a `setval`
//! before the client is told. It works on databases that sessions have marked, and stays out of the way: its connections to
//! a database live only as long as that is marked, so that they do not stand against DROP DATABASE.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::future::try_join;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use lockstep_core::cluster::Membership;
use lockstep_core::cluster::sequence::{self, Counting, Lacking, Positions};
use lockstep_core::id::{Epoch, NodeId};

use super::dirty::Dirty;
use super::sequences;
use crate::config::Config;
use crate::service::{self, Line, ServiceFault, within};

/// A burst of inserts is one levelling, not many.
const DEBOUNCE: Duration = Duration::from_millis(75);
/// Under load each database is levelled no more often.
const SPACING: Duration = Duration::from_millis(425);
/// Rounds after which a levelling under held commits gives up on a sequence that is being drawn from all the time.
const ROUNDS: u32 = 20;
const ROUND_PAUSE: Duration = Duration::from_millis(50);
/// Databases of a joining node that are levelled at once.
const AT_ONCE: usize = 4;
/// Smallest number of values that a takeover passes over.
const GAP: u64 = 1000;
/// A takeover passes over so many times what the busiest sequence was seen to give out between two levellings.
const GAP_PACES: u64 = 4;
/// A greater step between two looks was a `setval`, not a pace.
const FASTEST: u64 = 1_000_000;
const PATIENCE: Duration = Duration::from_secs(10);
/// So long does a client wait to be told of a setval.
const HURRY: Duration = Duration::from_secs(3);

#[derive(Debug)]
pub struct Leveller {
    config: Arc<Config>,
    dirty: Arc<Dirty>,
    /// What was seen of the leader's sequences, by database.
    seen: Mutex<BTreeMap<String, Seen>>,
    /// In which epoch a new leader's sequences were last moved on: what was read of a leader before it is put nowhere.
    moved_on: Mutex<Epoch>,
    /// What nodes were seen to lack, by node and database.
    lacking: Mutex<BTreeMap<(NodeId, String), Lacking>>,
    turns: Mutex<HashMap<NodeId, Arc<Turn>>>,
    /// By database, of clients that wait for a levelling.
    waiting: Mutex<HashMap<String, Arc<Waiting>>>,
}

/// Held while a node's sequences are set. How often each database's were.
type Turn = tokio::sync::Mutex<HashMap<String, u64>>;

/// Clients that wait share a levelling that began after each of them had asked.
#[derive(Debug, Default)]
struct Waiting {
    asked: AtomicU64,
    /// As many as had asked when the last levelling began.
    served: tokio::sync::Mutex<u64>,
}

/// Which sequences a round looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Which {
    All,
    /// Those that no transaction has locked.
    Free,
}

/// How a round ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Round {
    Level,
    /// Sequences are being drawn from.
    Moving,
    /// Another round, or a takeover, has set sequences since this one read them: nothing was set.
    Overtaken,
}

#[derive(Debug, Default)]
struct Seen {
    positions: Positions,
    /// Most values that one sequence gave out between two looks.
    pace: u64,
}

/// Connections to one database.
struct Lines {
    leader: Line,
    followers: Vec<(NodeId, Line)>,
    membership: Arc<Membership>,
}

impl Leveller {
    pub fn new(config: Arc<Config>, dirty: Arc<Dirty>) -> Self {
        let (seen, lacking, turns, waiting) = (Mutex::default(), Mutex::default(), Mutex::default(), Mutex::default());
        Self { config, dirty, seen, moved_on: Mutex::new(Epoch(0)), lacking, turns, waiting }
    }

    /// For a client that waits for it.
    pub async fn level_now(&self, database: &str, membership: Arc<Membership>) {
        let waiting =
            self.waiting.lock().unwrap_or_else(PoisonError::into_inner).entry(database.into()).or_default().clone();
        let mine = waiting.asked.fetch_add(1, Ordering::SeqCst) + 1;
        let levelled = async {
            let mut served = waiting.served.lock().await;
            if *served >= mine {
                return Ok(());
            }
            let all = waiting.asked.load(Ordering::SeqCst);
            self.hurried_round(database, membership).await?;
            *served = all;
            Ok(())
        };
        let why = match tokio::time::timeout(HURRY, levelled).await {
            Ok(Ok(())) => return,
            Ok(Err(fault)) => ServiceFault::to_string(&fault),
            Err(_) => format!("it took longer than {HURRY:?}"),
        };
        tracing::warn!(database, why, "sequences were not levelled at once after a setval");
    }

    /// Passes over sequences that a transaction has locked: it may be the one that waits.
    async fn hurried_round(&self, database: &str, membership: Arc<Membership>) -> Result<(), ServiceFault> {
        let lines = self.open(database, membership).await?;
        sequences::hurry(&lines.leader).await?;
        while self.level(database, &lines, Which::Free).await? == Round::Overtaken {
            if lines.membership.epoch < *self.moved_on.lock().unwrap_or_else(PoisonError::into_inner) {
                // Another node leads, and this leader's setval is not told.
                break;
            }
        }
        Ok(())
    }

    /// Levels whatever is marked, for ever.
    pub async fn run(&self, membership: &ArcSwap<Membership>) {
        let mut open = HashMap::new();
        loop {
            self.dirty.wait().await;
            tokio::time::sleep(DEBOUNCE).await;
            for (database, mark) in self.dirty.all() {
                match self.round(&database, membership.load_full(), open.remove(&database)).await {
                    Ok((true, _)) => self.dirty.clear(&database, mark),
                    Ok((false, lines)) => drop(open.insert(database, lines)),
                    Err(fault) if fault.is(&tokio_postgres::error::SqlState::INVALID_CATALOG_NAME) => {
                        self.dirty.clear(&database, mark);
                    }
                    Err(fault) => tracing::debug!(database, %fault, "sequences could not be levelled; trying again"),
                }
            }
            tokio::time::sleep(SPACING).await;
        }
    }

    /// Levels all marked databases now. `false`: some sequence is being drawn from all the time.
    pub async fn level_marked(&self, membership: &Arc<Membership>) -> Result<bool, ServiceFault> {
        let mut level = true;
        for (database, mark) in self.dirty.all() {
            if self.until_level(&database, membership).await? {
                self.dirty.clear(&database, mark);
            } else {
                level = false;
            }
        }
        Ok(level)
    }

    /// Puts every sequence of `node` where the leader's is, for a node that joins while commits are held. A database
    /// whose sequences do not stand still is marked, and so levelled after the node has joined.
    pub async fn level_joining(&self, membership: &Membership, node: NodeId) -> Result<(), ServiceFault> {
        let Some(leader) = membership.leader() else { return Ok(()) };
        let membership = Arc::new(membership.clone());
        let levelled = self.databases(leader).await?.into_iter().map(|database| {
            let membership = membership.clone();
            async move {
                let (leader, follower) = try_join(self.dial(leader, &database), self.dial(node, &database)).await?;
                let lines = Lines { leader, followers: vec![(node, follower)], membership };
                if within(PATIENCE, self.level(&database, &lines, Which::All)).await? != Round::Level {
                    self.dirty.mark(&database);
                }
                Ok(())
            }
        });
        stream::iter(levelled).buffer_unordered(AT_ONCE).try_collect().await
    }

    /// Moves the sequences of all marked databases on `node`, which is about to lead, past what the former leader may have
    /// given out.
    ///
    /// A levelling may be under way that has read the former leader, and this node as its follower: it is not to come after.
    pub async fn jump(&self, membership: &Membership, node: NodeId) -> Result<(), ServiceFault> {
        *self.moved_on.lock().unwrap_or_else(PoisonError::into_inner) = membership.epoch;
        let _turn = self.turn(node).await;
        let mut first = None;
        for (database, _) in self.dirty.all() {
            match self.jump_in(node, &database).await {
                Ok(()) => {}
                Err(fault) if fault.is(&tokio_postgres::error::SqlState::INVALID_CATALOG_NAME) => {}
                Err(fault) => {
                    tracing::error!(database, %fault, "the sequences of a database were not moved on");
                    first.get_or_insert(fault);
                }
            }
        }
        first.map_or(Ok(()), Err)
    }

    async fn jump_in(&self, node: NodeId, database: &str) -> Result<(), ServiceFault> {
        let line = self.dial(node, database).await?;
        within(PATIENCE, self.jump_database(database, &line)).await
    }

    pub fn is_marked(&self, database: &str) -> bool {
        self.dirty.all().iter().any(|(marked, _)| marked == database)
    }

    /// Marks every database of `node`: what its former leader gave out is not known.
    pub async fn mark_all(&self, node: NodeId) -> Result<(), ServiceFault> {
        self.databases(node).await?.iter().for_each(|database| self.dirty.mark(database));
        Ok(())
    }

    async fn until_level(&self, database: &str, membership: &Arc<Membership>) -> Result<bool, ServiceFault> {
        let mut lines = None;
        for _ in 0..ROUNDS {
            match self.round(database, membership.clone(), lines).await? {
                (true, _) => return Ok(true),
                (false, open) => lines = Some(open),
            }
            tokio::time::sleep(ROUND_PAUSE).await;
        }
        Ok(false)
    }

    async fn round(
        &self,
        database: &str,
        membership: Arc<Membership>,
        open: Option<Lines>,
    ) -> Result<(bool, Lines), ServiceFault> {
        let lines = match open {
            Some(lines) if lines.membership == membership => lines,
            _ => self.open(database, membership).await?,
        };
        let round = within(PATIENCE, self.level(database, &lines, Which::All)).await?;
        Ok((round == Round::Level, lines))
    }

    async fn open(&self, database: &str, membership: Arc<Membership>) -> Result<Lines, ServiceFault> {
        let leader = self.dial(membership.leader().ok_or(ServiceFault::NobodyLeads)?, database).await?;
        let mut followers = Vec::new();
        for node in membership.followers() {
            followers.push((node, self.dial(node, database).await?));
        }
        Ok(Lines { leader, followers, membership })
    }

    /// One round: are the followers level with a leader that stands still?
    async fn level(&self, database: &str, lines: &Lines, which: Which) -> Result<Round, ServiceFault> {
        if lines.followers.is_empty() {
            return Ok(Round::Level);
        }
        let mut begun = Vec::new();
        for (node, _) in &lines.followers {
            begun.push(self.turn(*node).await.get(database).copied());
        }
        let counting = match which {
            Which::All => sequences::counting(&lines.leader).await?,
            Which::Free => sequences::counting_free(&lines.leader).await?,
        };
        let before = sequences::positions(&lines.leader, counting.keys()).await?;
        let mut there = Vec::new();
        for (_, follower) in &lines.followers {
            let names = sequences::counting(follower).await?;
            there.push(sequences::positions(follower, names.keys()).await?);
        }
        let now = sequences::positions(&lines.leader, counting.keys()).await?;
        for (((node, follower), there), begun) in lines.followers.iter().zip(&there).zip(&begun) {
            let mut turn = self.turn(*node).await;
            let moved_on = *self.moved_on.lock().unwrap_or_else(PoisonError::into_inner);
            if moved_on > lines.membership.epoch || turn.get(database) != begun.as_ref() {
                return Ok(Round::Overtaken);
            }
            let steps = sequence::steps(&before, &now, there, &counting);
            if !steps.is_empty() {
                *turn.entry(database.to_owned()).or_default() += 1;
                sequences::set(follower, &steps).await?;
            }
        }
        if which == Which::Free {
            return Ok(if before == now { Round::Level } else { Round::Moving });
        }
        self.note(database, &now, &counting);
        let nodes = lines.followers.iter().map(|(node, _)| *node).zip(&there);
        let in_doubt = nodes.filter(|(node, there)| self.may_lack(*node, database, &now, there)).count();
        Ok(if before == now && in_doubt == 0 { Round::Level } else { Round::Moving })
    }

    /// Tells what the node lacks. True: it takes another look to know.
    fn may_lack(&self, node: NodeId, database: &str, leader: &Positions, there: &Positions) -> bool {
        let mut lacking = self.lacking.lock().unwrap_or_else(PoisonError::into_inner);
        let lacking = lacking.entry((node, database.to_owned())).or_default();
        for sequence in lacking.look(leader, there) {
            let node = &self.config.nodes[usize::from(node.0)].name;
            tracing::error!(
                database,
                node,
                sequence,
                "a node lacks a sequence that the leader has: run `lockstep verify`, then `lockstep recover` for the node that is wrong"
            );
        }
        lacking.is_in_doubt()
    }

    /// Remembers how fast the sequences of a database move.
    fn note(&self, database: &str, now: &Positions, counting: &BTreeMap<String, Counting>) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = seen.entry(database.to_owned()).or_default();
        let moved = |(name, position): (&String, &sequence::Position)| {
            let before = seen.positions.get(name)?;
            Some(position.last.abs_diff(before.last) / counting.get(name)?.increment.unsigned_abs().max(1))
        };
        seen.pace = seen.pace.max(now.iter().filter_map(moved).max().unwrap_or(0)).min(FASTEST);
        seen.positions = now.clone();
    }

    async fn jump_database(&self, database: &str, line: &Line) -> Result<(), ServiceFault> {
        let pace = {
            let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.get(database).map_or(0, |seen| seen.pace)
        };
        let gap = pace.saturating_mul(GAP_PACES).max(GAP);
        let counting = sequences::counting(line).await?;
        let mut positions = sequences::positions(line, counting.keys()).await?;
        let farthest = sequences::farthest(line).await.unwrap_or_else(|fault| {
            tracing::warn!(database, %fault, "sequences could not be compared with the columns that they serve");
            Vec::new()
        });
        for (name, value) in farthest {
            if let (Some(position), Some(counting)) = (positions.get_mut(&name), counting.get(&name)) {
                *position = sequence::past(*position, value, *counting);
            }
        }
        let jumped = |(name, position): (&String, &sequence::Position)| {
            Some((name.clone(), sequence::jump(*position, *counting.get(name)?, gap)))
        };
        let wanted: Positions = positions.iter().filter_map(jumped).collect();
        tracing::info!(
            database,
            sequences = wanted.len(),
            gap,
            "sequences were moved past what may have been given out"
        );
        sequences::set(line, &wanted).await
    }

    async fn turn(&self, node: NodeId) -> tokio::sync::OwnedMutexGuard<HashMap<String, u64>> {
        let turn = self.turns.lock().unwrap_or_else(PoisonError::into_inner).entry(node).or_default().clone();
        turn.lock_owned().await
    }

    async fn databases(&self, node: NodeId) -> Result<Vec<String>, ServiceFault> {
        let line = self.dial(node, &self.config.service.database).await?;
        let sql = "SELECT datname FROM pg_database WHERE datallowconn AND datname <> 'template0'";
        let rows = within(PATIENCE, async { Ok(line.query(sql, &[]).await?) }).await?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    async fn dial(&self, node: NodeId, database: &str) -> Result<Line, ServiceFault> {
        let node = &self.config.nodes[usize::from(node.0)];
        service::dial(&self.config.service, node, database, PATIENCE).await
    }
}
