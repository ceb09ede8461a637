//! The value of an expression.

use super::schema::Table;
use super::sql::{Expression, Operator, Source, Value};
use super::store::Store;

/// An error of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Error {
    pub state: &'static str,
    pub message: String,
}

pub(super) fn error(state: &'static str, message: impl Into<String>) -> Error {
    Error { state, message: message.into() }
}

/// What names stand for.
#[derive(Clone, Copy)]
pub(super) struct Names<'a> {
    pub row: Option<(&'a Table, &'a str, &'a [Value])>,
    pub source: Option<(&'a Source, &'a [Value])>,
    pub excluded: Option<(&'a Table, &'a [Value])>,
    pub parameters: &'a [Value],
    pub subqueries: &'a [Value],
}

impl Names<'_> {
    fn column(&self, qualifier: Option<&str>, name: &str) -> Option<Value> {
        if let Some((source, values)) = self.source
            && qualifier == Some(&source.name)
        {
            return source.columns.iter().position(|c| c == name).map(|n| values[n]);
        }
        if qualifier == Some("excluded") {
            let (table, values) = self.excluded?;
            return table.column(name).map(|n| values[n]);
        }
        let (table, alias, values) = self.row?;
        if qualifier.is_some_and(|qualifier| qualifier != alias) {
            return None;
        }
        table.column(name).map(|n| values[n])
    }

    pub(super) fn value(&self, expression: &Expression, store: &mut Store) -> Result<Value, Error> {
        match expression {
            Expression::Constant(value) => Ok(*value),
            Expression::Parameter(number) => self
                .parameters
                .get(*number)
                .copied()
                .ok_or_else(|| error("08P01", format!("there is no parameter ${}", number + 1))),
            Expression::Column(qualifier, name) => self
                .column(qualifier.as_deref(), name)
                .ok_or_else(|| error("42703", format!("column {qualifier:?}.{name} does not exist"))),
            Expression::Nextval(sequence) => {
                store.nextval(sequence).map(Some).ok_or_else(|| error("42P01", format!("no sequence {sequence}")))
            }
            Expression::Random(bound) => Ok(Some(store.random.below(*bound as usize) as i64)),
            Expression::Subquery(number) => Ok(self.subqueries.get(*number).copied().flatten()),
            Expression::Binary(operator, left, right) => {
                let (left, right) = (self.value(left, store)?, self.value(right, store)?);
                Ok(left.zip(right).map(|(left, right)| operate(*operator, left, right)))
            }
            Expression::Default | Expression::Count => Err(error("42601", "this stands where it has no meaning")),
        }
    }

    /// NULL does not hold.
    pub(super) fn holds(&self, condition: Option<&Expression>, store: &mut Store) -> Result<bool, Error> {
        match condition {
            None => Ok(true),
            Some(condition) => Ok(self.value(condition, store)?.is_some_and(|value| value != 0)),
        }
    }
}

fn operate(operator: Operator, left: i64, right: i64) -> i64 {
    match operator {
        Operator::Plus => left + right,
        Operator::Minus => left - right,
        Operator::Times => left * right,
        Operator::Equal => i64::from(left == right),
        Operator::Less => i64::from(left < right),
        Operator::Greater => i64::from(left > right),
        Operator::And => i64::from(left != 0 && right != 0),
    }
}
