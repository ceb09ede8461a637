//! Plans by token stream, so that a text seen before costs no parse, whatever its literals.
//!
//! A plan is kept under what it depends on: the text's key, and the catalog and the search path if they were looked at.
//! Where a literal was looked at, the masked key leads to the exact ones. Memory: two generations of half the bound; what
//! is used moves to the younger, and the elder is dropped when the younger is full.

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::ops::Range;
use std::sync::Arc;

use super::scope::{Scope, Stop, Uses};
use super::{Action, Answer, Context, Kept, Plan, Planned, Script, refuse, statement};
use crate::limits;
use crate::sql::{Masking, Parsed, TextKey, Token, Unparsed, scan, span};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    text: TextKey,
    /// With whether letters are converted.
    catalog: Option<(u128, bool)>,
    path: Option<u64>,
}

#[derive(Debug, Clone)]
enum Entry {
    /// The plans of the text's statements, and which tokens are theirs.
    Plans(Arc<[(Range<usize>, Arc<Plan>)]>),
    /// Literals matter.
    SeeExact,
    /// The plan depends on the search path: a session that does not know its own asks before anything is parsed.
    NeedsPath,
}

#[derive(Debug)]
pub struct PlanCache {
    young: HashMap<Key, (Entry, usize)>,
    old: HashMap<Key, (Entry, usize)>,
    young_bytes: usize,
    max_bytes: usize,
}

/// What the planning of a whole text gave.
enum Fresh {
    Ready { plans: Arc<[(Range<usize>, Arc<Plan>)]>, uses: Uses },
    Need(Answer),
}

impl PlanCache {
    pub fn new(max_bytes: usize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), young_bytes: 0, max_bytes }
    }

    pub fn script(&mut self, text: &str, context: &Context<'_>) -> Answer {
        let scanned = match scan(text) {
            Ok(scanned) => scanned,
            Err(why) => return Answer::Ready(not_parsed(text, why)),
        };
        let mut masking = Masking::of(&scanned);
        let mut key = TextKey::of(&scanned, masking);
        let mut found = self.find(key, context);
        if matches!(found, Some(Entry::SeeExact)) {
            masking = Masking::Nothing;
            key = TextKey::of(&scanned, masking);
            found = self.find(key, context);
        }
        match found {
            Some(Entry::Plans(plans)) => return Answer::Ready(script(&scanned.tokens, &plans)),
            Some(Entry::NeedsPath) => return Answer::NeedSearchPath,
            Some(Entry::SeeExact) | None => {}
        }
        let exact = TextKey::of(&scanned, Masking::Nothing);
        tracing::trace!("a text is parsed");
        let fresh = scanned.parse(|parsed| match plan_all(parsed, context) {
            Fresh::Need(answer) => (answer, None),
            Fresh::Ready { plans, uses } => (Answer::Ready(script(&parsed.tokens, &plans)), Some((plans, uses))),
        });
        match fresh {
            Err(why) => Answer::Ready(not_parsed(text, why)),
            Ok((answer, kept)) => {
                if let Some((plans, uses)) = kept {
                    self.keep((key, masking), exact, plans, uses, context);
                }
                answer
            }
        }
    }

    fn keep(
        &mut self,
        (text, masking): (TextKey, Masking),
        exact: TextKey,
        plans: Arc<[(Range<usize>, Arc<Plan>)]>,
        uses: Uses,
        context: &Context<'_>,
    ) {
        let bytes = weight(&plans);
        if bytes > limits::PLAN_CACHE_ENTRY || plans.iter().any(|(_, plan)| holds_secret(plan)) {
            return;
        }
        let Some(converts) = context.converts else { return };
        let catalog = context.catalog.filter(|_| uses.catalog).map(|c| (c.fingerprint, converts));
        let path = context.search_path.filter(|_| uses.path).map(hash);
        let mut text = text;
        if uses.literals && masking == Masking::Literals {
            self.insert(Key { text, catalog: None, path: None }, Entry::SeeExact, size_of::<Key>());
            text = exact;
        }
        if path.is_some() {
            self.insert(Key { text, catalog: None, path: None }, Entry::NeedsPath, size_of::<Key>());
        }
        self.insert(Key { text, catalog, path }, Entry::Plans(plans), bytes);
    }

    /// A plan that looked at nothing is found first; then one of this catalog; then one of this search path, too.
    fn find(&mut self, text: TextKey, context: &Context<'_>) -> Option<Entry> {
        let nothing = Key { text, catalog: None, path: None };
        let on_nothing = self.get(nothing);
        if matches!(on_nothing, Some(Entry::Plans(_) | Entry::SeeExact)) {
            return on_nothing;
        }
        let catalog = (context.catalog?.fingerprint, context.converts?);
        let with_catalog = Key { catalog: Some(catalog), ..nothing };
        if let Some(entry) = self.get(with_catalog) {
            return Some(entry);
        }
        let Some(path) = context.search_path else { return on_nothing };
        self.get(Key { path: Some(hash(path)), ..with_catalog })
    }

    fn get(&mut self, key: Key) -> Option<Entry> {
        if let Some((entry, _)) = self.young.get(&key) {
            return Some(entry.clone());
        }
        let (entry, bytes) = self.old.remove(&key)?;
        self.insert(key, entry.clone(), bytes);
        Some(entry)
    }

    fn insert(&mut self, key: Key, entry: Entry, bytes: usize) {
        if self.young_bytes + bytes > self.max_bytes / 2 {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
        match self.young.insert(key, (entry, bytes)) {
            Some((_, before)) => self.young_bytes = self.young_bytes + bytes - before,
            None => self.young_bytes += bytes,
        }
    }
}

fn hash(path: &crate::catalog::SearchPath) -> u64 {
    let mut hasher = DefaultHasher::new();
    path.hash(&mut hasher);
    hasher.finish()
}

fn plan_all(parsed: &Parsed<'_>, context: &Context<'_>) -> Fresh {
    let mut plans = Vec::with_capacity(parsed.statements.len());
    let mut uses = Uses::default();
    for found in &parsed.statements {
        let scope = Scope::new(parsed, context);
        match statement::plan(&scope, found) {
            Ok(plan) => plans.push((found.tokens.clone(), Arc::new(plan))),
            Err(Stop::NeedSearchPath) => return Fresh::Need(Answer::NeedSearchPath),
            Err(_) => return Fresh::Need(Answer::NeedCatalog),
        }
        uses |= scope.uses();
    }
    Fresh::Ready { plans: plans.into(), uses }
}

fn script(tokens: &[Token], plans: &[(Range<usize>, Arc<Plan>)]) -> Script {
    let planned = |(range, plan): &(Range<usize>, Arc<Plan>)| Planned { span: span(tokens, range), plan: plan.clone() };
    Script { statements: plans.iter().map(planned).collect() }
}

/// The statements of a text, each to be planned when its turn comes.
pub fn unplanned(text: &str) -> Script {
    let plan: Arc<Plan> = Arc::new(Action::Leader.into());
    let statements = scan(text).and_then(|scanned| {
        scanned.parse(|parsed| {
            let spans = parsed.statements.iter().map(|statement| span(&parsed.tokens, &statement.tokens));
            spans.map(|span| Planned { span, plan: plan.clone() }).collect()
        })
    });
    statements.map_or_else(|why| not_parsed(text, why), |statements| Script { statements })
}

fn not_parsed(text: &str, why: Unparsed) -> Script {
    let plan: Plan = match why {
        Unparsed::Syntax => Action::Unparsed.into(),
        Unparsed::TooDeep => refuse::too_deep().into(),
        Unparsed::TooLong => refuse::too_long(text.len()).into(),
    };
    Script { statements: vec![Planned { span: 0..text.len(), plan: Arc::new(plan) }] }
}

/// A password must not outlive its statement.
fn holds_secret(plan: &Plan) -> bool {
    matches!(&plan.action, Action::Ddl(ddl) if ddl.password.is_some())
}

/// Bytes of an entry, roughly.
fn weight(plans: &[(Range<usize>, Arc<Plan>)]) -> usize {
    let fixed = size_of::<Key>() + size_of::<Entry>() + 64;
    let kept = |plan: &Plan| plan.kept.as_ref().map_or(0, Kept::weight);
    fixed + plans.iter().map(|(_, plan)| size_of::<Plan>() + 64 + plan_weight(plan) + kept(plan)).sum::<usize>()
}

fn plan_weight(plan: &Plan) -> usize {
    match &plan.action {
        Action::Write(write) => write.weight(),
        Action::CopyRows(copy) => copy.weight(),
        Action::CopyIn(copy) => 128 + copy.follower_sql.len(),
        Action::Prepare { name, inner } => name.len() + size_of::<Plan>() + plan_weight(inner),
        Action::Refuse(fault) | Action::Unknown(fault) | Action::CopyUnknown(fault) => {
            64 + fault.message.len() + fault.hint.as_ref().map_or(0, |h| h.len())
        }
        _ => 32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Transaction;
    use crate::plan::modes::{Isolation, Modes};
    use crate::plan::policy::{Capturing, Inexact, Policy};

    const NOTHING: Context<'_> = Context { catalog: None, search_path: None, converts: Some(false), policy: POLICY };
    const POLICY: Policy = Policy { inexact: Inexact::Reject, capture: Capturing::Auto };

    fn plan(cache: &mut PlanCache, sql: &str) -> Arc<Plan> {
        match cache.script(sql, &NOTHING) {
            Answer::Ready(script) => script.statements[0].plan.clone(),
            other => panic!("{sql}: {other:?}"),
        }
    }

    #[test]
    fn a_text_with_other_literals_has_the_same_plan() {
        let mut cache = PlanCache::new(1 << 20);
        let first = plan(&mut cache, "SELECT 'a', 1");
        assert!(Arc::ptr_eq(&first, &plan(&mut cache, "SELECT  'bcd' /* x */, 22")));
        assert!(!Arc::ptr_eq(&first, &plan(&mut cache, "SELECT 'a', $1")));
    }

    #[test]
    fn spans_are_those_of_the_text_at_hand() {
        let mut cache = PlanCache::new(1 << 20);
        for sql in ["SELECT 'a' ; COMMIT", " SELECT 'a;b' -- ;\n;;  COMMIT ; "] {
            let Answer::Ready(script) = cache.script(sql, &NOTHING) else { panic!("{sql}") };
            let texts: Vec<&str> = script.statements.iter().map(|s| &sql[s.span.clone()]).collect();
            assert!(texts[0].starts_with("SELECT 'a") && texts[0].ends_with('\''), "{texts:?}");
            assert_eq!(texts[1], "COMMIT");
        }
    }

    #[test]
    fn literals_that_say_what_is_meant_are_not_masked() {
        let mut cache = PlanCache::new(1 << 20);
        for (level, isolation) in
            [("serializable", Isolation::Serializable), ("read committed", Isolation::ReadCommitted)]
        {
            let plan = plan(&mut cache, &format!("SET default_transaction_isolation = '{level}'"));
            let modes = Modes { isolation: Some(isolation), ..Modes::default() };
            assert_eq!(plan.action, Action::Transaction(Transaction::Modes { modes, session: true }));
        }
    }

    #[test]
    fn memory_is_bounded_and_what_is_used_stays() {
        let mut cache = PlanCache::new(20_000);
        let used = plan(&mut cache, "SELECT 1 AS used");
        for n in 0..1000 {
            plan(&mut cache, &format!("SELECT 1 AS a{n}"));
            assert!(Arc::ptr_eq(&used, &plan(&mut cache, "SELECT 1 AS used")), "{n}");
            let bytes = |map: &HashMap<Key, (Entry, usize)>| map.values().map(|(_, b)| b).sum::<usize>();
            assert_eq!(bytes(&cache.young), cache.young_bytes);
            assert!(cache.young_bytes + bytes(&cache.old) <= cache.max_bytes);
        }
    }

    #[test]
    fn a_password_is_not_kept() {
        let catalog = crate::catalog::Catalog::default();
        let path = crate::catalog::SearchPath::new(["public"]);
        let context = Context { catalog: Some(&catalog), search_path: Some(&path), ..NOTHING };
        let mut cache = PlanCache::new(1 << 20);
        let sql = "CREATE ROLE a PASSWORD 'secret'";
        assert!(matches!(cache.script(sql, &context), Answer::Ready(_)));
        assert!(cache.young.is_empty());
    }
}
