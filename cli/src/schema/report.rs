//! What `lockstep check --schema` says of one database.

use lockstep_core::catalog::{Catalog, Function, Relation, RelationKind};
use lockstep_core::plan::tables::{self, Fate};
use serde::Serialize;

use crate::show::Paint;

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    pub database: String,
    pub tables: Vec<TableReport>,
    /// Functions that a statement may not call, and why.
    pub functions: Vec<Named>,
    pub materialized_views: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TableReport {
    pub table: String,
    /// `by key`, `captured`, `partly` or `refused`.
    pub writes: &'static str,
    pub key: Vec<String>,
    /// Statements whose rows a trigger of the proxy's own tells.
    pub captured: Vec<&'static str>,
    pub refused: Vec<Refusal>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Refusal {
    pub statements: Vec<&'static str>,
    pub why: String,
    pub remedy: String,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Named {
    pub name: String,
    pub why: String,
}

pub fn judge(database: &str, catalog: &Catalog) -> Report {
    let ours = |relation: &&Relation| relation.schema != lockstep_core::sql::OWN_SCHEMA;
    let is_view = |relation: &&Relation| relation.kind == RelationKind::MaterializedView;
    let name = |relation: &Relation| format!("{}.{}", relation.schema, relation.name);
    let relations = || catalog.relations().filter(ours);
    let table = |relation: &Relation| Some(table(name(relation), tables::fate(catalog, relation)?));
    let mut tables: Vec<_> = relations().filter(|relation| !is_view(relation)).filter_map(table).collect();
    tables.sort_by(|a, b| a.table.cmp(&b.table));
    let refused = |function: &Function| {
        let why = match (function.effect.beyond, function.effect.text, catalog.unseen()) {
            (true, ..) => function.why.clone(),
            (false, true, Some(why)) => format!("{}, and {why}", function.why),
            _ => return None,
        };
        Some(Named { name: format!("{}.{}", function.schema, function.name), why })
    };
    let mut functions: Vec<_> = catalog.functions().filter_map(refused).collect();
    functions.sort_by(|a, b| a.name.cmp(&b.name));
    let mut materialized_views: Vec<_> = relations().filter(is_view).map(name).collect();
    materialized_views.sort();
    Report { database: database.to_owned(), tables, functions, materialized_views }
}

fn table(table: String, fate: Fate) -> TableReport {
    let refused: Vec<_> = fate
        .refused
        .into_iter()
        .map(|refused| Refusal { statements: refused.statements, why: refused.why, remedy: refused.remedy })
        .collect();
    let count: usize = refused.iter().map(|refusal| refusal.statements.len()).sum();
    let writes = match count {
        0 if fate.captured.is_empty() => "by key",
        0 => "captured",
        1 | 2 => "partly",
        _ => "refused",
    };
    TableReport { table, writes, key: fate.key.unwrap_or_default(), captured: fate.captured, refused }
}

impl Report {
    pub fn is_good(&self) -> bool {
        self.tables.iter().all(|table| table.refused.is_empty()) && self.functions.is_empty()
    }

    pub fn text(&self, paint: Paint) -> String {
        let mut lines = vec![paint.bold(&format!("database {}", self.database))];
        for table in &self.tables {
            lines.extend(table.lines(paint));
        }
        for Named { name, why } in &self.functions {
            lines.push(format!("{} function {name}: a statement that calls it is refused: {why}", paint.mark(false)));
        }
        for name in &self.materialized_views {
            lines.push(format!("  materialized view {name}: `lockstep explain` says whether it can be refreshed"));
        }
        let count = |writes: &str| self.tables.iter().filter(|table| table.writes == writes).count();
        lines.push(format!(
            "{} {} tables: {} replicated, {} of them by capture, {} in part, {} refused; {} functions that statements may \
             not call",
            paint.mark(self.is_good()),
            self.tables.len(),
            count("by key") + count("captured"),
            count("captured"),
            count("partly"),
            count("refused"),
            self.functions.len()
        ));
        lines.join("\n")
    }
}

impl TableReport {
    fn lines(&self, paint: Paint) -> Vec<String> {
        if self.refused.is_empty() {
            let how = match (&self.key[..], &self.captured[..]) {
                ([], _) => "rows by capture".to_owned(),
                (key, []) => format!("rows by key ({})", key.join(", ")),
                (key, captured) => format!("rows by key ({}); {} by capture", key.join(", "), captured.join(", ")),
            };
            return vec![format!("{} {}: {how}", paint.mark(true), self.table)];
        }
        let line = |refusal: &Refusal| {
            let statements = refusal.statements.join(", ");
            let remedy =
                if refusal.remedy.is_empty() { String::new() } else { format!("\n    → {}", refusal.remedy) };
            format!("{} {}: {statements} refused: {}{remedy}", paint.mark(false), self.table, refusal.why)
        };
        self.refused.iter().map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(refused: Vec<Refusal>, functions: Vec<Named>) -> Report {
        let fate = if refused.is_empty() { "by key" } else { "partly" };
        let table = TableReport {
            table: "public.t".into(),
            writes: fate,
            key: vec!["id".into()],
            captured: Vec::new(),
            refused,
        };
        Report { database: "shop".into(), tables: vec![table], functions, materialized_views: Vec::new() }
    }

    #[test]
    fn a_table_names_its_key_or_what_is_refused_with_the_remedy() {
        let good = report(Vec::new(), Vec::new());
        assert!(good.is_good() && good.text(Paint::none()).contains("✓ public.t: rows by key (id)"));
        let (why, remedy) = ("it has a trigger".to_owned(), "drop it".to_owned());
        let bad = report(vec![Refusal { statements: vec!["UPDATE", "DELETE"], why, remedy }], Vec::new());
        assert!(!bad.is_good());
        let text = bad.text(Paint::none());
        assert!(text.contains("x public.t: UPDATE, DELETE refused: it has a trigger\n    → drop it"), "{text}");
        assert!(
            text.ends_with("x 1 tables: 0 replicated, 0 of them by capture, 1 in part, 0 refused; 0 functions that statements may not call")
        );
    }

    #[test]
    fn a_function_that_writes_is_something_that_is_refused() {
        let function = Named { name: "public.f".into(), why: "it writes".into() };
        assert!(!report(Vec::new(), vec![function]).is_good());
    }
}
