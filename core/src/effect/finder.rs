//! How rows that an effect has touched are found again, by key, as they are now on any node.

use super::rows::{EffectColumn, RowKind};
use crate::quote::quote_identifier;
use crate::wire::frontend::Format;

/// Finds the rows that executions of a template have touched, whether they have come to this node or not: the key of a
/// row is not among what an effect changes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Finder {
    /// As it stands behind FROM.
    pub table: String,
    /// What a row `x` of the table fulfils; it takes `parameters`, in their order.
    pub condition: String,
    /// Which of a row's parameters make its key.
    pub parameters: Vec<(u16, Format)>,
    /// Parameters of one row.
    pub width: u16,
    pub change: Change,
}

/// What has become of the rows, as far as rows of other tables may follow them by foreign keys.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Change {
    Inserted,
    Deleted,
    /// These columns may have another value.
    Updated(Vec<String>),
}

/// A column of a key, and the operator by which it is found.
pub type KeyPart = (String, String);

impl Finder {
    /// `None`: the rows have no key among what is known of them.
    pub(super) fn new(table: &str, kind: RowKind, columns: &[EffectColumn], key: &[KeyPart]) -> Option<Self> {
        let mut terms = Vec::new();
        let mut parameters = Vec::new();
        for (n, (name, equality)) in key.iter().enumerate() {
            let at = columns.iter().position(|column| column.name == *name)?;
            let value = columns[at].applied(n + 1);
            terms.push(format!("x.{} {equality} {value}", quote_identifier(name)));
            parameters.push((u16::try_from(at).ok()?, columns[at].format));
        }
        let changed = || columns.iter().filter(|c| !c.is_key()).map(|c| c.name.clone()).collect();
        let change = match kind {
            RowKind::Insert => Change::Inserted,
            RowKind::Delete => Change::Deleted,
            RowKind::Update | RowKind::Upsert => Change::Updated(changed()),
        };
        let width = u16::try_from(columns.len()).ok()?;
        let condition = terms.join(" AND ");
        (!key.is_empty()).then(|| Self { table: table.to_owned(), condition, parameters, width, change })
    }
}
