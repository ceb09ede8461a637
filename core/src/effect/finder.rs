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
    pub by: FoundBy,
    /// Which of a row's parameters it is found by.
    pub parameters: Vec<(u16, Format)>,
    /// Parameters of one row.
    pub width: u16,
    pub change: Change,
}

/// The texts take the finder's parameters, in their order.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum FoundBy {
    /// What a row `x` of the table fulfils that has this key.
    Key(String),
    /// The row itself, for there is no key: the row as an expression.
    Image(String),
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
    /// `None`: the rows can be found by nothing that is known of them. Of new ones all is known.
    pub(super) fn new(table: &str, kind: RowKind, columns: &[EffectColumn], key: &[KeyPart]) -> Option<Self> {
        let width = u16::try_from(columns.len()).ok()?;
        if key.is_empty() {
            let values: Vec<String> = columns.iter().enumerate().map(|(n, c)| c.applied(n + 1)).collect();
            let by = FoundBy::Image(format!("ROW({})", values.join(",")));
            let parameters = (0..width).zip(columns).map(|(n, column)| (n, column.format)).collect();
            let finder = Self { table: table.to_owned(), by, parameters, width, change: Change::Inserted };
            return (kind == RowKind::Insert).then_some(finder);
        }
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
        let by = FoundBy::Key(terms.join(" AND "));
        Some(Self { table: table.to_owned(), by, parameters, width, change })
    }
}
