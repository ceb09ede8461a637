//! What the planner must know of one database: keys, defaults, triggers, rules, function volatility, sequences.

pub mod cell;

pub use cell::{Cell, SchemaEpoch};

// STUB
#[derive(Debug)]
pub struct Catalog {
    pub version: u64,
}
impl Catalog {
    pub fn has_temporary(&self) -> bool {
        false
    }
}
#[derive(Debug)]
pub struct Loader;
#[derive(Debug, thiserror::Error)]
#[error("x")]
pub struct CatalogFault;
impl Loader {
    pub fn new() -> Self {
        Self
    }
    pub fn row(&mut self, _i: usize, _r: Vec<Option<bytes::Bytes>>) -> Result<(), CatalogFault> {
        Ok(())
    }
    pub fn finish(self) -> Result<Catalog, CatalogFault> {
        Err(CatalogFault)
    }
}
#[derive(Debug)]
pub struct SearchPath;
impl SearchPath {
    pub fn from_row(_r: &[Option<bytes::Bytes>]) -> Result<Self, CatalogFault> {
        Ok(Self)
    }
}
pub const QUERIES: &[&str] = &[];
pub const SEARCH_PATH_QUERY: &str = "";
