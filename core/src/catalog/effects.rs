//! What a function does besides computing, through all that it calls; and which functions give the same everywhere.
//!
//! What a function declares of itself is no proof: one that says STABLE may call one that writes. So effects are found
//! from bodies, and spread from what is called to what calls until nothing changes. Names stand for everything of that
//! name, in whatever schema: too much is found rather than too little.

use std::collections::{HashMap, HashSet};

use super::Catalog;
use super::body::Body;
use super::builtin;
use super::model::{Callee, Effect, FIRST_USER_OID, Function, Oid, Place};
use super::types::Types;

/// How a function came to be, as far as it matters here.
#[derive(Debug)]
pub(super) struct Source {
    pub kind: SourceKind,
    pub immutable: bool,
    pub volatile: bool,
    /// The names in it mean the same under every search path.
    pub path_fixed: bool,
    pub arguments: Vec<Oid>,
    /// It may do what nobody sees, however it is called.
    pub opaque: bool,
}

#[derive(Debug)]
pub(super) enum SourceKind {
    /// Of an extension, which is believed.
    Believed,
    /// SQL or PL/pgSQL.
    Read(Box<Body>),
    /// A name for a function of the server, which has these.
    BuiltIn(Vec<String>),
    /// By its support functions.
    Aggregate(Vec<Oid>),
    /// Another language, or a body that cannot be read.
    Unknown,
}

/// An operator or a cast, and the function behind it.
#[derive(Debug)]
pub(super) struct Behind {
    pub function: Callee,
    pub schema: String,
    /// Of the operator, or of the type to which is cast.
    pub name: String,
    /// Used though nobody names it.
    pub implicit: bool,
}

/// Extensions whose volatile functions only compute: they read the clock or random bytes and write nothing.
pub(super) const AUDITED: [&str; 16] = [
    "autoinc",
    "insert_username",
    // What it drops is seen all the same (`Catalog::drops_objects`).
    "lo",
    "moddatetime",
    "pg_buffercache",
    "pg_freespacemap",
    "pg_stat_statements",
    "pg_trgm",
    "pg_uuidv7",
    "pgcrypto",
    "pgrowlocks",
    "pgstattuple",
    "tcn",
    "tsm_system_rows",
    "tsm_system_time",
    "uuid-ossp",
];

/// Those of them whose functions leave something with the transaction: notifications, large objects that are gone.
const LINGERING: [&str; 2] = ["lo", "tcn"];

/// Functions of extensions that run text which is not known, whatever they say of themselves.
const TEXT_RUNNERS: [&str; 6] = ["connectby", "crosstab", "crosstab2", "crosstab3", "crosstab4", "xpath_table"];

/// Extensions whose functions that are not IMMUTABLE depend on files that all servers have alike.
const SAME_FILES: [&str; 1] = ["unaccent"];

/// All that has to be known of a database for it.
pub(super) struct Effects<'a> {
    pub catalog: &'a mut Catalog,
    pub types: &'a Types,
    pub sources: &'a HashMap<Oid, Source>,
    pub operators: &'a [Behind],
    pub casts: &'a [Behind],
    /// Functions of the server that are not IMMUTABLE.
    pub changeable: &'a HashSet<String>,
}

/// What is done by everything of a name.
#[derive(Default)]
struct Names {
    functions: HashMap<String, Effect>,
    /// Functions that may be called as a field.
    fields: HashMap<String, Effect>,
    /// Views, and types.
    words: HashMap<String, Effect>,
    operators: Vec<(String, Effect)>,
}

impl Effects<'_> {
    pub fn spread(mut self) {
        while self.step() {}
        self.same_everywhere();
    }

    /// Whether something was learned.
    fn step(&mut self) -> bool {
        let names = self.names();
        let mut changed = false;
        for (oid, source) in self.sources {
            let Some(before) = self.catalog.functions.get(oid) else { continue };
            let (effect, why) = self.effect_of(source, before, &names);
            if let Some(function) = self.catalog.functions.get_mut(oid)
                && effect != function.effect
            {
                (function.effect, function.why) = (effect, why);
                changed = true;
            }
        }
        self.relations() || changed
    }

    fn effect_of(&self, source: &Source, function: &Function, names: &Names) -> (Effect, String) {
        match &source.kind {
            SourceKind::Unknown => {
                (Effect::WRITES, "has a body that cannot be read here, or a setting that changes what it means".into())
            }
            SourceKind::Believed if TEXT_RUNNERS.contains(&function.name.as_str()) => {
                (Effect::WRITES, "runs text that is not known".into())
            }
            SourceKind::Believed => match &function.extension {
                Some(e) if source.volatile && !AUDITED.contains(&e.as_str()) => {
                    (Effect::WRITES, format!("is a VOLATILE function of the extension {e}"))
                }
                Some(e) => (Effect { lingers: LINGERING.contains(&e.as_str()), ..Effect::default() }, String::new()),
                None => (Effect::default(), String::new()),
            },
            SourceKind::BuiltIn(names) => {
                let mut effect = Effect::default();
                names.iter().for_each(|name| effect |= builtin::effect_of(name));
                (effect, format!("is {}", names.join(" or ")))
            }
            SourceKind::Aggregate(parts) => {
                let mut effect = Effect::default();
                parts.iter().for_each(|part| effect |= self.catalog.effect_of(&Callee::User(*part)));
                (effect, "has a support function that may write".into())
            }
            SourceKind::Read(body) => match body_effect(body, source.volatile, names) {
                // It may be evaluated when a statement is planned, where nobody waits for what it writes.
                (effect, why) if effect.writes && !source.volatile => {
                    (Effect { beyond: true, ..effect }, format!("is not VOLATILE, but {why}"))
                }
                known => known,
            },
        }
    }

    /// Reading a view or a table with row security calls what stands in its definition.
    fn relations(&mut self) -> bool {
        let mut found = Vec::new();
        for relation in self.catalog.relations.values() {
            let calls = relation.calls.iter().filter(|c| matches!(c.place, Place::View | Place::Policy));
            let mut effect = relation.reading;
            calls.for_each(|c| effect |= self.catalog.effect_of(&c.callee));
            let reads = relation.reads.iter().filter_map(|oid| self.catalog.relations.get(oid));
            reads.for_each(|r| effect |= r.reading);
            if effect != relation.reading {
                found.push((relation.oid, effect));
            }
        }
        for (oid, effect) in &found {
            if let Some(relation) = self.catalog.relations.get_mut(oid) {
                relation.reading = *effect;
            }
        }
        !found.is_empty()
    }

    fn names(&self) -> Names {
        let mut names = Names::default();
        for function in self.catalog.functions.values().filter(|f| !f.effect.is_none()) {
            *names.functions.entry(function.name.clone()).or_default() |= function.effect;
            if function.by_attribute {
                *names.fields.entry(function.name.clone()).or_default() |= function.effect;
            }
        }
        let relations = self.catalog.relations.values().map(|r| (&r.name, r.reading));
        let casts = self.casts.iter().map(|c| (&c.name, self.catalog.effect_of(&c.function)));
        let domains = self.catalog.calling_domains.iter().filter_map(|(oid, calls)| {
            let mut effect = Effect::default();
            calls.iter().for_each(|callee| effect |= self.catalog.effect_of(callee));
            Some((&self.types.get(*oid)?.name, effect))
        });
        for (name, effect) in relations.chain(casts).chain(domains).filter(|(_, e)| !e.is_none()) {
            *names.words.entry(name.clone()).or_default() |= effect;
        }
        let operators = self.operators.iter().map(|o| (o.name.clone(), self.catalog.effect_of(&o.function)));
        names.operators = operators.filter(|(_, e)| !e.is_none()).collect();
        names
    }

    /// A function of IMMUTABLE kind whose body bears that out: followers may evaluate it by themselves.
    fn same_everywhere(&mut self) {
        let names = Known::of(self);
        let mut same: HashSet<Oid> = HashSet::new();
        loop {
            let found: Vec<Oid> = self
                .sources
                .iter()
                .filter(|(oid, source)| !same.contains(oid) && self.is_same(**oid, source, &names, &same))
                .map(|(oid, _)| *oid)
                .collect();
            if found.is_empty() {
                break;
            }
            same.extend(found);
        }
        for oid in same {
            if let Some(function) = self.catalog.functions.get_mut(&oid) {
                function.same_everywhere = true;
            }
        }
    }

    fn is_same(&self, oid: Oid, source: &Source, known: &Known, same: &HashSet<Oid>) -> bool {
        let Some(function) = self.catalog.functions.get(&oid) else { return false };
        match (&source.kind, &function.extension) {
            (SourceKind::Believed, Some(e)) => source.immutable || SAME_FILES.contains(&e.as_str()),
            (SourceKind::Read(body), _) => {
                source.immutable
                    && function.effect.only_computes()
                    && !body.words.contains("execute")
                    && source.arguments.iter().all(|t| self.types.text_is_plain(*t))
                    && !body.temporal
                    && (source.path_fixed || !known.depends_on_path(body))
                    && body.words.iter().all(|word| self.word_is_same(body, word, known, same))
            }
            (SourceKind::BuiltIn(names), _) => {
                source.immutable && names.iter().all(|name| !self.changeable.contains(name))
            }
            _ => false,
        }
    }

    /// A word stands for nothing that may differ: no table's rows, no clock, no setting.
    fn word_is_same(&self, body: &Body, word: &str, known: &Known, same: &HashSet<Oid>) -> bool {
        let system = word.starts_with("pg_") && word != "pg_catalog" || word == "information_schema";
        let called = body.called.contains(word) || body.fields.contains(word);
        let changes = called && self.changeable.contains(word) && !PLAIN_USES.contains(&word);
        let functions = self.catalog.functions_by_name.get(word).map_or(&[][..], Vec::as_slice);
        !system
            && !changes
            && !known.relations.contains(word)
            && !builtin::SERVER_VALUES.contains(&word)
            && !SETTING_TYPES.contains(&word)
            && (!called || functions.iter().all(|oid| same.contains(oid)))
    }
}

/// Functions that are IMMUTABLE but for arguments of types that such a body does not have: times, fractions.
const PLAIN_USES: [&str; 13] = [
    "array_to_string",
    "concat",
    "concat_ws",
    "convert",
    "convert_from",
    "convert_to",
    "format",
    "generate_series",
    "jsonb_build_object",
    "length",
    "numeric",
    "quote_literal",
    "quote_nullable",
];

/// Types whose text depends on a setting.
const SETTING_TYPES: [&str; 16] = [
    "bytea",
    "date",
    "double",
    "float",
    "float4",
    "float8",
    "interval",
    "money",
    "real",
    "regclass",
    "time",
    "timestamp",
    "timestamptz",
    "timetz",
    "xml",
    "zone",
];

/// Names of users' objects.
struct Known {
    relations: HashSet<String>,
    functions: HashSet<String>,
    types: HashSet<String>,
    operators: Vec<String>,
}

impl Known {
    fn of(effects: &Effects<'_>) -> Self {
        let types = effects.types.0.iter().filter(|(oid, _)| **oid >= FIRST_USER_OID).map(|(_, t)| t.name.clone());
        Self {
            relations: effects.catalog.relations.values().map(|r| r.name.clone()).collect(),
            functions: effects.catalog.functions_by_name.keys().cloned().collect(),
            types: types.collect(),
            operators: effects.operators.iter().map(|o| o.name.clone()).collect(),
        }
    }

    fn depends_on_path(&self, body: &Body) -> bool {
        let named =
            |word: &String| self.types.contains(word) || self.functions.contains(word) && body.called.contains(word);
        body.unqualified.iter().any(named)
            || body.operators.iter().any(|run| self.operators.iter().any(|known| run.contains(known.as_str())))
    }
}

fn body_effect(body: &Body, volatile: bool, names: &Names) -> (Effect, String) {
    // The server lets no statement of a function write that is not VOLATILE, but all that it calls.
    if let Some(word) = body.statement.as_ref().filter(|_| volatile) {
        return (Effect::WRITES, format!("is VOLATILE and has the word {word}"));
    }
    let mut effect = Effect::default();
    let mut why = String::new();
    if body.runs_text {
        (effect, why) = (Effect::TEXT, "runs text by EXECUTE".into());
    } else if let Some(target) = body.targets.first().filter(|_| volatile) {
        (effect, why) = (Effect::ROWS, format!("is VOLATILE and writes to {target}"));
    }
    effect.lingers |= body.lingers;
    for (name, found) in used(body, names) {
        if found.writes && !effect.writes || found.beyond && !effect.beyond {
            why = format!("uses {name}");
        }
        effect |= found;
    }
    (effect, why)
}

/// All that a body may use, by name or by sign, with what it does.
fn used<'a>(body: &'a Body, names: &'a Names) -> impl Iterator<Item = (&'a String, Effect)> {
    let of = |known: &'a HashMap<String, Effect>| move |word: &'a String| Some((word, *known.get(word)?));
    let called = body.called.iter().filter_map(of(&names.functions));
    let built_in = body.called.iter().map(|word| (word, set_config(body, word, builtin::effect_of(word))));
    let fields = body.fields.iter().filter_map(of(&names.fields));
    let words = body.words.iter().filter_map(of(&names.words));
    let signs = names.operators.iter().filter(|(name, _)| body.operators.iter().any(|run| run.contains(name.as_str())));
    let signs = signs.map(|(name, effect)| (name, *effect));
    called.chain(built_in).chain(fields).chain(words).chain(signs)
}

/// A setting that is known by name is told to the proxy where it says what names mean, unless it changes more than that.
fn set_config(body: &Body, word: &str, effect: Effect) -> Effect {
    let known = |list: &[&str]| body.settings.iter().flatten().any(|name| list.contains(&name.as_str()));
    let unknown = body.settings.iter().any(Option::is_none);
    if word != "set_config" || unknown || known(&builtin::WATCHED_SETTINGS) {
        return effect;
    }
    Effect { settings: known(&builtin::NAMING_SETTINGS), lingers: true, ..Effect::default() }
}
