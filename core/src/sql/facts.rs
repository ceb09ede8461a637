//! What a statement mentions, wherever in its tree it stands.
//!
//! The tree is walked by serialising it into nothing. So no field of any node can be forgotten: what the parser's own
//! data types hold is what is visited, and a new version's new field is visited without a change here.

use std::fmt;

use serde::ser::{self, Impossible, Serialize};

/// Where the proxy keeps its lineage.
pub const OWN_SCHEMA: &str = "lockstep";

/// A name as written: folded and without quotes, as the parser gives it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name {
    pub schema: Option<String>,
    pub name: String,
}

impl Name {
    pub fn new(schema: Option<&str>, name: &str) -> Self {
        Self { schema: schema.filter(|s| !s.is_empty()).map(str::to_owned), name: name.to_owned() }
    }

    /// The last two parts of a dotted name; a database's name before them says nothing.
    pub fn from_parts(parts: &[String]) -> Option<Self> {
        match parts {
            [] => None,
            [name] => Some(Self::new(None, name)),
            [.., schema, name] => Some(Self::new(Some(schema), name)),
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.schema {
            Some(schema) => write!(f, "{schema}.{}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Facts {
    pub functions: Vec<Name>,
    pub operators: Vec<Name>,
    pub types: Vec<Name>,
    /// Tables, views and the names of common table expressions, as they are referred to.
    pub relations: Vec<Name>,
    /// Last parts of column references and field selections: `a.f` may mean `f(a)`.
    pub attributes: Vec<String>,
    /// Nodes whose name ends in `Stmt`, outermost first.
    pub statements: Vec<&'static str>,
    /// `SELECT … INTO`, and `CREATE TABLE AS`.
    pub into: bool,
    /// FOR UPDATE, FOR SHARE and the like.
    pub locks: bool,
    /// ON CONFLICT DO UPDATE with a condition: a row may be locked by it and not changed.
    pub upserts_some: bool,
    /// DEFAULT as a value.
    pub defaults: bool,
    /// The first argument of each `set_config`, where it is a plain literal.
    pub settings: Vec<Option<String>>,
    /// A literal has one of the words that mean another date or time whenever they are read.
    pub temporal_words: bool,
    /// CURRENT_TIMESTAMP and its kind.
    pub values_of_server: bool,
    /// What INSERT, UPDATE, DELETE and MERGE write to, wherever in the statement they stand.
    pub targets: Vec<Name>,
    /// Names given as a list: the objects of DROP and its kind.
    pub lists: Vec<Name>,
    /// A name, however it is written, is that of the proxy's own schema.
    pub own_name: bool,
    /// A literal holds that name.
    pub own_literal: bool,
}

/// Whether a text has the name of the proxy's own schema as a word; `lockstep_probe` is somebody else's.
fn has_own_word(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    let in_word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '$');
    text.match_indices(OWN_SCHEMA).any(|(at, name)| {
        let (before, after) = (&text[..at], &text[at + name.len()..]);
        !before.ends_with(in_word) && !after.starts_with(in_word)
    })
}

impl Facts {
    pub fn of(tree: &impl Serialize) -> Self {
        let mut walk = Walk::default();
        // The walk itself never fails.
        let _ = tree.serialize(&mut walk);
        walk.facts
    }

    /// A literal may be the name of an object: it is given to what takes names as text.
    pub fn names_by_text(&self) -> bool {
        self.types.iter().any(|t| t.name.starts_with("reg"))
            || self.functions.iter().any(|f| {
                f.name.starts_with("to_reg")
                    || matches!(f.name.as_str(), "nextval" | "setval" | "currval" | "set_config")
            })
    }

    /// Nothing is called and nothing read, not even an operator.
    pub fn computes_with_constants(&self) -> bool {
        let built_in = |name: &Name| name.schema.as_deref() == Some("pg_catalog");
        self.functions.is_empty()
            && self.relations.is_empty()
            && self.operators.is_empty()
            && self.attributes.is_empty()
            && self.types.iter().all(built_in)
    }
}

#[derive(Default)]
struct Walk {
    facts: Facts,
    frames: Vec<Frame>,
}

/// A node under way.
struct Frame {
    node: &'static str,
    field: &'static str,
    /// Which element of that field, if it is a list, counted from 1.
    element: usize,
    /// Strings met in its own fields, and in string nodes that are directly its own.
    strings: Vec<(&'static str, String)>,
}

impl Frame {
    fn parts(&self, field: &str) -> Vec<String> {
        self.strings.iter().filter(|(f, _)| *f == field).map(|(_, s)| s.clone()).collect()
    }
}

impl Walk {
    fn enter(&mut self, node: &'static str) {
        if node.ends_with("Stmt") {
            self.facts.statements.push(node);
        }
        self.facts.into |= node == "IntoClause";
        self.facts.locks |= node == "LockingClause";
        let within = self.frames.last().map(|frame| (frame.node, frame.field));
        self.facts.upserts_some |= within == Some(("OnConflictClause", "where_clause"));
        self.facts.defaults |= node == "SetToDefault";
        self.facts.values_of_server |= node == "SqlValueFunction";
        self.frames.push(Frame { node, field: "", element: 0, strings: Vec::new() });
    }

    fn leave(&mut self) {
        let Some(frame) = self.frames.pop() else { return };
        let facts = &mut self.facts;
        match frame.node {
            "FuncCall" => {
                let name = Name::from_parts(&frame.parts("funcname"));
                if name.as_ref().is_some_and(|n| n.name == "set_config") {
                    facts.settings.push(frame.parts(FIRST_ARGUMENT).pop());
                }
                facts.functions.extend(name);
            }
            "AConst" => self.constant(frame),
            "List" => facts.lists.extend(Name::from_parts(&frame.parts("items"))),
            "AExpr" => facts.operators.extend(Name::from_parts(&frame.parts("name"))),
            "SubLink" => facts.operators.extend(Name::from_parts(&frame.parts("oper_name"))),
            "SortBy" => facts.operators.extend(Name::from_parts(&frame.parts("use_op"))),
            "TypeName" => facts.types.extend(Name::from_parts(&frame.parts("names"))),
            "ColumnRef" => facts.attributes.extend(frame.parts("fields")),
            "AIndirection" | "ResTarget" => facts.attributes.extend(frame.parts("indirection")),
            "RangeVar" => {
                let schema = frame.parts("schemaname");
                let name = frame.parts("relname");
                let name = name.first().map(|n| Name::new(schema.first().map(String::as_str), n));
                if self.frames.last().is_some_and(|f| f.field == "relation" && WRITES.contains(&f.node)) {
                    facts.targets.extend(name.clone());
                }
                facts.relations.extend(name);
            }
            _ => {}
        }
    }

    /// A literal; the first argument of a call is handed to it.
    fn constant(&mut self, frame: Frame) {
        let Some((_, value)) = frame.strings.into_iter().next() else { return };
        self.facts.temporal_words |= has_temporal_word(&value);
        self.facts.own_literal |= has_own_word(&value);
        let call = self.frames.iter_mut().rev().find(|f| f.node != "Node");
        if let Some(call) = call
            && (call.node, call.field, call.element) == ("FuncCall", "args", 1)
        {
            call.strings.push((FIRST_ARGUMENT, value));
        }
    }

    fn string(&mut self, value: &str) {
        let literal = self.frames.iter().rev().any(|f| f.node == "AConst");
        self.facts.own_name |= value == OWN_SCHEMA && !literal;
        let direct = self.frames.last().is_none_or(|f| f.node != "String");
        let owner = self.frames.iter_mut().rev().find(|f| direct || !matches!(f.node, "String" | "Node"));
        if let Some(frame) = owner
            && !value.is_empty()
        {
            frame.strings.push((frame.field, value.to_owned()));
        }
    }
}

const WRITES: [&str; 4] = ["InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt"];

/// Stands for a field where the first argument's text is kept.
const FIRST_ARGUMENT: &str = "args[0]";

/// Documentation: "Date/Time Types", special values.
pub fn has_temporal_word(value: &str) -> bool {
    let mut words = value.split(|c: char| !c.is_alphanumeric() && c != '_');
    value.len() <= LONGEST_TIME
        && words.any(|w| ["now", "today", "tomorrow", "yesterday"].iter().any(|known| w.eq_ignore_ascii_case(known)))
}

/// Longer literals are no dates (src/include/utils/datetime.h, `MAXDATELEN`, with room for blanks).
const LONGEST_TIME: usize = 256;

type Visited = Result<(), fmt::Error>;

macro_rules! ignore {
    ($($method:ident: $type:ty),*) => {
        $(fn $method(self, _: $type) -> Visited { Ok(()) })*
    };
}

impl ser::Serializer for &mut Walk {
    type Ok = ();
    type Error = fmt::Error;
    type SerializeSeq = Self;
    type SerializeTuple = Impossible<(), fmt::Error>;
    type SerializeTupleStruct = Impossible<(), fmt::Error>;
    type SerializeTupleVariant = Impossible<(), fmt::Error>;
    type SerializeMap = Impossible<(), fmt::Error>;
    type SerializeStruct = Self;
    type SerializeStructVariant = Impossible<(), fmt::Error>;

    ignore!(serialize_bool: bool, serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64,
        serialize_u8: u8, serialize_u16: u16, serialize_u32: u32, serialize_u64: u64, serialize_f32: f32,
        serialize_f64: f64, serialize_char: char, serialize_bytes: &[u8], serialize_unit_struct: &'static str);

    fn serialize_str(self, value: &str) -> Visited {
        self.string(value);
        Ok(())
    }

    fn serialize_none(self) -> Visited {
        Ok(())
    }

    fn serialize_some<T: ?Sized + Serialize>(self, value: &T) -> Visited {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Visited {
        Ok(())
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, _: &'static str) -> Visited {
        Ok(())
    }

    fn serialize_newtype_struct<T: ?Sized + Serialize>(self, _: &'static str, value: &T) -> Visited {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: ?Sized + Serialize>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        value: &T,
    ) -> Visited {
        value.serialize(self)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Self, fmt::Error> {
        Ok(self)
    }

    fn serialize_struct(self, name: &'static str, _: usize) -> Result<Self, fmt::Error> {
        self.enter(name);
        Ok(self)
    }

    fn serialize_tuple(self, _: usize) -> Result<Self::SerializeTuple, fmt::Error> {
        Err(fmt::Error)
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self::SerializeTupleStruct, fmt::Error> {
        Err(fmt::Error)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, fmt::Error> {
        Err(fmt::Error)
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Self::SerializeMap, fmt::Error> {
        Err(fmt::Error)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, fmt::Error> {
        Err(fmt::Error)
    }
}

impl ser::SerializeSeq for &mut Walk {
    type Ok = ();
    type Error = fmt::Error;

    fn serialize_element<T: ?Sized + Serialize>(&mut self, value: &T) -> Visited {
        if let Some(frame) = self.frames.last_mut() {
            frame.element += 1;
        }
        value.serialize(&mut **self)
    }

    fn end(self) -> Visited {
        Ok(())
    }
}

impl ser::SerializeStruct for &mut Walk {
    type Ok = ();
    type Error = fmt::Error;

    fn serialize_field<T: ?Sized + Serialize>(&mut self, field: &'static str, value: &T) -> Visited {
        if let Some(frame) = self.frames.last_mut() {
            frame.field = field;
            frame.element = 0;
        }
        value.serialize(&mut **self)
    }

    fn end(self) -> Visited {
        self.leave();
        Ok(())
    }
}

#[cfg(test)]
mod tests;
