//! What differs between nodes, in sentences.

use std::collections::{BTreeMap, BTreeSet};

use super::sequence::Position;

/// Sentences beyond this many are only counted: nodes that have nothing in common would fill the screen.
const LISTED: usize = 100;
/// Characters of a definition that are shown around the place where two of them part.
const SHOWN: usize = 120;

/// Kind of a [`Thing`] whose rows are compared.
pub const TABLE: &str = "table";

/// Something with a name in a database; cluster-wide things have none.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Thing {
    pub database: Option<String>,
    pub kind: String,
    pub name: String,
}

/// The contents of one table, whatever the order of its rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contents {
    pub rows: u64,
    pub hash: String,
}

/// All of a node that must be equal on every other.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Inventory {
    /// Definitions, free of anything that is numbered apart on each node.
    pub schema: BTreeMap<Thing, String>,
    pub contents: BTreeMap<Thing, Contents>,
    pub sequences: BTreeMap<Thing, Position>,
}

impl Inventory {
    pub fn rows(&self) -> u64 {
        self.contents.values().map(|contents| contents.rows).sum()
    }

    pub fn tables(&self) -> usize {
        self.contents.keys().filter(|thing| thing.kind == TABLE).count()
    }

    pub fn is_equal_but_for_positions(&self, other: &Inventory) -> bool {
        self.schema == other.schema
            && self.contents == other.contents
            && self.sequences.keys().eq(other.sequences.keys())
    }
}

/// One sentence for each difference of any node to the first; empty means that all are equal.
pub fn differences(nodes: &[(&str, &Inventory)]) -> Vec<String> {
    let Some(((first, reference), others)) = nodes.split_first() else { return Vec::new() };
    let mut found = Vec::new();
    for (name, inventory) in others {
        let pair = Pair { a: first, b: name };
        found.extend(pair.compare(&reference.schema, &inventory.schema, |a, b| pair.definitions(a, b)));
        found.extend(pair.compare(&reference.contents, &inventory.contents, |a, b| pair.contents(a, b)));
        found.extend(pair.compare(&reference.sequences, &inventory.sequences, |a, b| pair.positions(*a, *b)));
    }
    found.sort_by_key(|(weight, _)| *weight);
    let mut found: Vec<_> = found.into_iter().map(|(_, sentence)| sentence).collect();
    if found.len() > LISTED {
        let more = found.len() - LISTED;
        found.truncate(LISTED);
        found.push(format!("and {more} more differences"));
    }
    found
}

struct Pair<'a> {
    a: &'a str,
    b: &'a str,
}

impl Pair<'_> {
    fn compare<V: PartialEq>(
        &self,
        ours: &BTreeMap<Thing, V>,
        theirs: &BTreeMap<Thing, V>,
        say: impl Fn(&V, &V) -> String,
    ) -> Vec<(Weight, String)> {
        let things: BTreeSet<&Thing> = ours.keys().chain(theirs.keys()).collect();
        let sentence = |thing: &Thing| match (ours.get(thing), theirs.get(thing)) {
            (Some(a), Some(b)) if a == b => None,
            (Some(a), Some(b)) => Some(format!("{} {}", subject(thing), say(a, b))),
            (Some(_), None) => Some(format!("{} is on {}, not on {}", subject(thing), self.a, self.b)),
            (None, Some(_)) => Some(format!("{} is on {}, not on {}", subject(thing), self.b, self.a)),
            (None, None) => None,
        };
        things.into_iter().filter_map(|thing| Some((weight(thing), sentence(thing)?))).collect()
    }

    fn definitions(&self, a: &str, b: &str) -> String {
        let from = parting(a, b);
        format!("differs: on {} {}; on {} {}", self.a, excerpt(a, from), self.b, excerpt(b, from))
    }

    fn contents(&self, a: &Contents, b: &Contents) -> String {
        if a.rows == b.rows {
            format!("has {} rows on {} and on {}, but not the same ones", a.rows, self.a, self.b)
        } else {
            format!("has {} rows on {}, {} on {}", a.rows, self.a, b.rows, self.b)
        }
    }

    fn positions(&self, a: Position, b: Position) -> String {
        format!("is at {a} on {}, at {b} on {}", self.a, self.b)
    }
}

/// What is told first: what has parts comes before its parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Weight {
    Server,
    Table,
    Other,
    Part,
}

fn weight(thing: &Thing) -> Weight {
    match (&thing.database, thing.kind.as_str()) {
        (None, _) => Weight::Server,
        (_, TABLE | "schema" | "extension") => Weight::Table,
        (_, "column" | "constraint" | "comment on") => Weight::Part,
        _ => Weight::Other,
    }
}

fn subject(thing: &Thing) -> String {
    match &thing.database {
        Some(database) => format!("database {database}: {} {}", thing.kind, thing.name),
        None => format!("{} {}", thing.kind, thing.name),
    }
}

/// Where two texts begin to differ, in characters, stepped back so that some of what is common is shown.
fn parting(a: &str, b: &str) -> usize {
    let common = a.chars().zip(b.chars()).take_while(|(a, b)| a == b).count();
    common.saturating_sub(SHOWN / 3)
}

fn excerpt(text: &str, from: usize) -> String {
    let part: String = text.chars().skip(from).take(SHOWN).collect();
    let before = if from > 0 { "…" } else { "" };
    let after = if text.chars().count() > from + SHOWN { "…" } else { "" };
    format!("{before}{part}{after}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thing(kind: &str, name: &str) -> Thing {
        Thing { database: Some("app".into()), kind: kind.into(), name: name.into() }
    }

    fn inventory() -> Inventory {
        Inventory {
            schema: [(thing("index", "public.t_a"), "CREATE INDEX t_a ON public.t USING btree (a)".to_owned())].into(),
            contents: [(thing("table", "public.t"), Contents { rows: 3, hash: "1".into() })].into(),
            sequences: [(thing("sequence", "public.s"), Position { last: 5, called: true })].into(),
        }
    }

    fn compared(change: impl Fn(&mut Inventory)) -> Vec<String> {
        let mut other = inventory();
        change(&mut other);
        differences(&[("a", &inventory()), ("b", &other)])
    }

    #[test]
    fn equal_nodes_have_no_differences() {
        assert_eq!(compared(|_| {}), [""; 0]);
    }

    #[test]
    fn each_difference_is_a_sentence_that_names_the_nodes() {
        let contents = |rows, hash: &str| Contents { rows, hash: hash.into() };
        assert_eq!(compared(|b| b.schema.clear()), ["database app: index public.t_a is on a, not on b"]);
        assert_eq!(
            compared(|b| drop(b.contents.insert(thing("table", "public.t"), contents(4, "1")))),
            ["database app: table public.t has 3 rows on a, 4 on b"]
        );
        assert_eq!(
            compared(|b| drop(b.contents.insert(thing("table", "public.t"), contents(3, "2")))),
            ["database app: table public.t has 3 rows on a and on b, but not the same ones"]
        );
        assert_eq!(
            compared(|b| b.sequences.values_mut().for_each(|position| position.last = 6)),
            ["database app: sequence public.s is at 5 on a, at 6 on b"]
        );
    }

    #[test]
    fn long_definitions_are_shown_where_they_part() {
        let long = format!("{}x", "a".repeat(1000));
        let sentence = Pair { a: "a", b: "b" }.definitions(&long, &format!("{}y", "a".repeat(1000)));
        assert!(sentence.contains("ax; on b") && sentence.len() < 400, "{sentence}");
    }

    #[test]
    fn what_is_too_much_to_list_is_counted() {
        let things = (0..LISTED + 7).map(|n| (thing("table", &n.to_string()), String::new()));
        let many = Inventory { schema: things.collect(), ..Inventory::default() };
        let found = differences(&[("a", &many), ("b", &Inventory::default())]);
        assert_eq!(found.last().map(String::as_str), Some("and 7 more differences"));
    }
}
