//! What happens with writes to a table, for `lockstep check --schema`: the planner's own judgement, asked for each kind
//! of write without a statement.

use super::{capture, write};
use crate::catalog::{Catalog, Event, Relation, RelationKind};
use crate::fault::Fault;
use crate::sql::OWN_SCHEMA;

/// What becomes of the writes to one table.
#[derive(Debug, Clone, PartialEq)]
pub struct Fate {
    /// Columns of the key by which rows are found on followers.
    pub key: Option<Vec<String>>,
    /// Statements whose rows a trigger of ours tells.
    pub captured: Vec<&'static str>,
    pub refused: Vec<Refused>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Refused {
    /// INSERT, UPDATE, DELETE.
    pub statements: Vec<&'static str>,
    pub why: String,
    pub remedy: String,
}

/// Every kind of write that a statement may be.
const WRITES: [(Event, &str); 3] = [(Event::Insert, "INSERT"), (Event::Update, "UPDATE"), (Event::Delete, "DELETE")];

/// `None`: nothing is written to it by statements of its own (a view, a sequence, a temporary table, what
/// is ours).
pub fn fate(catalog: &Catalog, relation: &Relation) -> Option<Fate> {
    let ours = relation.schema == OWN_SCHEMA;
    if ours || relation.temporary || matches!(relation.kind, RelationKind::View | RelationKind::Sequence) {
        return None;
    }
    let mut fate = Fate { key: None, captured: Vec::new(), refused: Vec::new() };
    for (event, name) in WRITES {
        let by_rows = write::judge(catalog, relation, event);
        if by_rows.is_err() || catalog.is_captured(relation) {
            match capture::judge(catalog, relation) {
                Ok(()) => fate.captured.push(name),
                Err(fault) => fate.refuse(name, &fault),
            }
            continue;
        }
        match by_rows {
            Ok(effect) if event == Event::Delete => {
                let key = effect.columns.iter().filter(|column| column.is_key());
                fate.key = Some(key.map(|column| column.name.clone()).collect());
            }
            _ => {}
        }
    }
    Some(fate)
}

impl Fate {
    fn refuse(&mut self, statement: &'static str, fault: &Fault) {
        let message = fault.message.to_string();
        let why = message.strip_prefix("this statement is refused: ").unwrap_or(&message).to_owned();
        match self.refused.iter_mut().find(|refused| refused.why == why) {
            Some(refused) => refused.statements.push(statement),
            None => {
                let remedy = fault.hint.as_ref().map(ToString::to_string).unwrap_or_default();
                self.refused.push(Refused { statements: vec![statement], why, remedy });
            }
        }
    }
}
