//! Sequences: they are in no snapshot. One that stands still must be level; one that is being drawn from may lag on a
//! follower only as far as the leveller lets it.

use lockstep_core::cluster::sequence::{self, Counting, Positions};
use std::collections::BTreeMap;

use super::Verification;
use super::look::Lines;
use crate::cluster::command::Trouble;
use crate::cluster::sequences;
use crate::service::{Line, ServiceFault};

/// Looks at sequences that move between one look and the next.
const LOOKS: u32 = 5;

struct Looked {
    counting: BTreeMap<String, Counting>,
    /// Of the leader, before anything else.
    before: Positions,
    /// Of each follower.
    there: Vec<Positions>,
    now: Positions,
}

impl Verification<'_> {
    pub async fn sequences(&self, database: &str, lines: &Lines) -> Result<(), Trouble> {
        let leveller = &self.cluster.leveller;
        for look in 1.. {
            let marked = leveller.is_marked(database);
            // One that was dropped between two statements: look again.
            let looked = match self.look_at(lines, marked).await {
                Ok(looked) => looked,
                Err(fault) if look >= LOOKS => {
                    self.unread(format!("database {database}: sequences: {fault}"));
                    return Ok(());
                }
                Err(_) => continue,
            };
            let wrong: Vec<_> = looked.there.iter().map(|there| looked.astray(there)).collect();
            if wrong.iter().all(Vec::is_empty) {
                return Ok(());
            }
            let settled = !marked && !leveller.is_marked(database);
            if look < LOOKS && !settled {
                continue;
            }
            for (place, names) in wrong.iter().enumerate() {
                names.iter().for_each(|name| self.stands_elsewhere(database, &looked, place, name));
            }
            return Ok(());
        }
        Ok(())
    }

    fn stands_elsewhere(&self, database: &str, looked: &Looked, place: usize, name: &String) {
        let (leader, follower) = self.names(place + 1);
        if let (Some(here), Some(there)) = (looked.now.get(name), looked.there[place].get(name)) {
            let sentence =
                format!("database {database}: sequence {name} is at {here} on {leader}, at {there} on {follower}");
            self.differs(place + 1, sentence);
        }
    }

    /// In a database that sessions have drawn from, followers are levelled between the two looks at the leader.
    async fn look_at(&self, lines: &Lines, marked: bool) -> Result<Looked, ServiceFault> {
        let leader = &lines.0[0];
        let counting = sequences::counting(leader).await?;
        let before = sequences::positions(leader, counting.keys()).await?;
        if marked {
            let membership = self.cluster.shared.membership.load_full();
            self.cluster.leveller.level_marked(&membership).await?;
        }
        let mut there = Vec::new();
        for follower in &lines.0[1..] {
            there.push(all_positions(follower).await?);
        }
        let now = sequences::positions(leader, counting.keys()).await?;
        Ok(Looked { counting, before, there, now })
    }
}

impl Looked {
    fn astray(&self, there: &Positions) -> Vec<String> {
        sequence::astray(&self.before, there, &self.now, &self.counting)
    }
}

async fn all_positions(line: &Line) -> Result<Positions, ServiceFault> {
    let counting = sequences::counting(line).await?;
    sequences::positions(line, counting.keys()).await
}
