//! `lockstep explain`: what a statement is for replication, by the planner's own judgement.

use lockstep_core::plan::explain::{Explained, REFUSED, UNKNOWN, explain as in_words};
use lockstep_core::plan::{Answer, Context, PlanCache};
use lockstep_runtime::config::Config;
use serde::Serialize;

use crate::args::Explain;
use crate::exit::{Exit, Stop};
use crate::schema;
use crate::show::{self, Paint};

#[derive(Debug, Serialize)]
struct Statement {
    statement: String,
    kind: String,
    followers: Vec<String>,
    why: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<String>,
}

pub async fn explain(config: Config, args: Explain) -> Result<Exit, Stop> {
    let database = args.database.as_deref().unwrap_or(&config.service.database);
    let reader = schema::open(&config, database).await?;
    let catalog = reader.catalog().await?;
    let path = reader.search_path(args.user.as_deref(), args.search_path.as_deref()).await?;
    let policy = config.replication.policy;
    let context = Context { catalog: Some(&catalog), search_path: Some(&path), converts: Some(false), policy };
    // Statement by statement: one that is not known must not hide the others.
    let script = lockstep_core::plan::unplanned(&args.sql);
    let explained = |text: &str| match PlanCache::new(0).script(text, &context) {
        Answer::Ready(script) => script.statements.first().map(|planned| in_words(&planned.plan, text)),
        Answer::NeedCatalog | Answer::NeedSearchPath => None,
    };
    let statements = script.statements.iter().filter_map(|planned| args.sql.get(planned.span.clone()));
    let statements: Vec<_> = statements.map(|text| statement(text, explained(text), database)).collect();
    if args.json.json {
        show::json(&statements);
    } else {
        let paint = Paint::for_stdout();
        let texts: Vec<_> = statements.iter().map(|statement| statement.text(paint)).collect();
        show::line(&texts.join("\n\n"));
    }
    Ok(if statements.iter().any(Statement::is_bad) { Exit::Bad } else { Exit::Good })
}

fn statement(text: &str, explained: Option<Explained>, database: &str) -> Statement {
    match explained {
        Some(Explained { kind, followers, why, remedy }) => {
            Statement { statement: text.to_owned(), kind: kind.to_owned(), followers, why, remedy }
        }
        None => Statement {
            statement: text.to_owned(),
            kind: UNKNOWN.to_owned(),
            followers: Vec::new(),
            why: format!("it names something that is not in database {database}, or not in the search path"),
            remedy: Some("give --database, and --user or --search-path, as the application has them".into()),
        },
    }
}

impl Statement {
    fn is_bad(&self) -> bool {
        self.kind == REFUSED || self.kind == UNKNOWN
    }

    fn text(&self, paint: Paint) -> String {
        let mut lines = vec![paint.bold(&self.statement)];
        lines.push(format!("{} {}: {}", paint.mark(!self.is_bad()), self.kind, self.why));
        match &self.followers[..] {
            [] if self.is_bad() => {}
            [] => lines.push("  followers get: nothing of this text".into()),
            followers => lines.extend(followers.iter().map(|sql| format!("  followers get: {sql}"))),
        }
        lines.extend(self.remedy.iter().map(|remedy| format!("  → {remedy}")));
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_shows_its_reason_and_its_remedy_and_an_unknown_name_how_to_find_it() {
        let (why, remedy) = ("t has a trigger".to_owned(), Some("disable it".to_owned()));
        let refused = Explained { kind: "refused", followers: Vec::new(), why, remedy };
        let refused = statement("DELETE FROM t", Some(refused), "shop");
        assert!(refused.is_bad());
        assert_eq!(refused.text(Paint::none()), "DELETE FROM t\nx refused: t has a trigger\n  → disable it");
        let unknown = statement("DELETE FROM nothing", None, "shop");
        assert!(unknown.is_bad() && unknown.text(Paint::none()).contains("--search-path"));
    }
}
