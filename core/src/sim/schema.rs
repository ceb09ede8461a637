//! The tables of the model nodes: `schema.sql`, of which `catalog.tsv` is what a real server says (made by
//! `core/tests/plans/regenerate DATABASE core/src/sim`).

use std::sync::Arc;

use bytes::Bytes;

use crate::catalog::{Catalog, Loader};

#[derive(Debug)]
pub(super) struct Table {
    pub name: &'static str,
    pub columns: &'static [Column],
    /// Single columns, the first of them the primary key.
    pub unique: &'static [usize],
    /// A column that refers to another table's primary key, ON DELETE CASCADE.
    pub refers: Option<(usize, &'static str)>,
}

#[derive(Debug)]
pub(super) struct Column {
    pub name: &'static str,
    /// bigint; else int.
    pub wide: bool,
    /// Values come from this sequence where none is given.
    pub serial: Option<&'static str>,
}

const fn int(name: &'static str) -> Column {
    Column { name, wide: false, serial: None }
}

pub(super) const TABLES: [Table; 11] = [
    Table { name: "account", columns: &[int("id"), int("n"), int("v")], unique: &[0], refers: None },
    Table { name: "job", columns: &[int("id"), int("state"), int("worker")], unique: &[0], refers: None },
    Table { name: "parent", columns: &[int("id"), int("v")], unique: &[0], refers: None },
    Table {
        name: "child",
        columns: &[Column { name: "id", wide: false, serial: Some("child_id_seq") }, int("parent"), int("v")],
        unique: &[0],
        refers: Some((1, "parent")),
    },
    Table { name: "ledger", columns: &[int("id"), int("who")], unique: &[0], refers: None },
    Table { name: "named", columns: &[int("id"), int("code"), int("v")], unique: &[0, 1], refers: None },
    Table {
        name: "draw",
        columns: &[Column { name: "id", wide: true, serial: Some("draw_id_seq") }, int("chance")],
        unique: &[0],
        refers: None,
    },
    Table { name: "duty", columns: &[int("id"), int("on_call")], unique: &[0], refers: None },
    Table { name: "item", columns: &[int("id"), int("v"), int("changes")], unique: &[0], refers: None },
    Table { name: "tally", columns: &[int("id"), int("n"), int("firsts")], unique: &[0], refers: None },
    Table { name: "met", columns: &[int("id")], unique: &[0], refers: None },
];

/// Tables that have our trigger.
pub(super) const CAPTURED: [&str; 3] = ["item", "tally", "met"];

pub(super) const SEQUENCES: [&str; 3] = ["child_id_seq", "draw_id_seq", "ticket"];

impl Table {
    pub(super) fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|c| c.name == name)
    }
}

pub(super) fn table(name: &str) -> Option<usize> {
    TABLES.iter().position(|t| t.name == name)
}

thread_local! {
    static CATALOG: Arc<Catalog> = Arc::new(read());
}

/// What a session knows of the tables.
pub(super) fn catalog() -> Arc<Catalog> {
    CATALOG.with(Arc::clone)
}

fn read() -> Catalog {
    let mut loader = Loader::new();
    for line in include_str!("catalog.tsv").lines() {
        let mut columns = line.split('\t');
        let query = columns.next().and_then(|n| n.parse().ok()).expect("each line begins with its query's number");
        let values = columns.map(|c| (c != "\\N").then(|| Bytes::from(c.replace("\\\\", "\\")))).collect();
        loader.row(query, values).expect("the server's own rows are understood");
    }
    loader.finish().expect("the server's own rows are a catalog")
}
