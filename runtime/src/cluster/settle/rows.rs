//! Finding the rows that units have touched, on one node.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::future::try_join_all;
use lockstep_core::effect::{Change, Finder, FoundBy};
use lockstep_core::journal::Touch;
use lockstep_core::wire::cursor::Cursor;
use lockstep_core::wire::frontend;
use tokio_postgres::Client;
use tokio_postgres::types::{Format, IsNull, ToSql, Type, to_sql_checked};

use super::Unsettled;

/// Rows of all units together; more are quicker compared than looked for one by one.
const MOST_ROWS: usize = 20_000;

/// Signs, tables and images of captured rows, as the functions on the nodes read them (`capture/functions.sql`).
const CAPTURED: &str = "SELECT v[1], v[2], v[3] FROM (SELECT convert_from(decode(p, 'base64'), getdatabaseencoding())::text[] \
    FROM unnest(string_to_array($1, ',')) AS p) AS said (v)";

/// Rows of a table that have no key.
const BY_IMAGE: &str = "format('%s', x.*) = ANY ($1::text[])";

/// Some rows of a table that have a key, and how they are found.
#[derive(Debug)]
pub struct Probe {
    /// `DELETE FROM` and `SELECT … FROM` go on with it, up to the condition.
    target: String,
    /// Joined to the table.
    images: bool,
    condition: String,
    /// Parameters of each execution.
    keys: Vec<Vec<Raw>>,
}

/// Tables with what is to be found in them.
#[derive(Debug, Default)]
pub struct Probes {
    pub tables: BTreeMap<String, Vec<Probe>>,
    /// The same for tables without a key: their rows as text.
    images: BTreeMap<String, BTreeSet<String>>,
    /// What became of rows, where foreign keys act on it.
    pub changes: BTreeMap<String, Vec<Change>>,
    rows: usize,
}

/// Rows as text with how often each is there, by table.
pub type Rows = BTreeMap<String, BTreeMap<String, u64>>;

/// A value as it is sent.
#[derive(Debug, Clone)]
pub struct Raw {
    value: Option<Vec<u8>>,
    format: frontend::Format,
}

impl ToSql for Raw {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        let Some(value) = &self.value else { return Ok(IsNull::Yes) };
        out.put_slice(value);
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, _: &Type) -> Format {
        match self.format {
            frontend::Format::Text => Format::Text,
            frontend::Format::Binary => Format::Binary,
        }
    }

    to_sql_checked!();
}

impl Raw {
    /// The text form of an array of these.
    pub fn array<'a>(elements: impl IntoIterator<Item = &'a String>) -> Self {
        let quoted = |element: &String| format!("\"{}\"", element.replace('\\', "\\\\").replace('"', "\\\""));
        let elements: Vec<String> = elements.into_iter().map(quoted).collect();
        Self { value: Some(format!("{{{}}}", elements.join(",")).into_bytes()), format: frontend::Format::Text }
    }
}

impl Probes {
    /// `client` is asked what captured rows are found by.
    pub async fn of(client: &Client, touches: &[Touch]) -> Result<Self, Unsettled> {
        let mut probes = Self::default();
        for touch in touches {
            match touch {
                Touch::ByKey { finder, keys } => probes.add(client, finder, keys).await?,
                Touch::Captured(rows) => probes.captured(client, rows).await?,
            }
            if probes.rows > MOST_ROWS {
                return Err(Unsettled::TooMany);
            }
        }
        Ok(probes)
    }

    async fn add(&mut self, client: &Client, finder: &Finder, keys: &[u8]) -> Result<(), Unsettled> {
        let mut cursor = Cursor::new(Bytes::copy_from_slice(keys));
        let mut rows = Vec::new();
        while !cursor.is_empty() {
            let mut row = Vec::new();
            for (_, format) in &finder.parameters {
                let value = cursor.value().map_err(|_| Unsettled::Key)?.map(|value| value.to_vec());
                row.push(Raw { value, format: *format });
            }
            rows.push(row);
        }
        let table = finder.table.trim_start_matches("ONLY ").to_owned();
        self.rows += rows.len();
        let probes = self.tables.entry(table.clone()).or_default();
        match &finder.by {
            FoundBy::Key(condition) => {
                let (target, condition) = (finder.table.clone(), condition.clone());
                probes.push(Probe { target, images: false, condition, keys: rows });
            }
            FoundBy::Image(row) => {
                let image = client.prepare(&format!("SELECT format('%s', {row}::{table})")).await?;
                for row in &rows {
                    let image = client.query_one(&image, &parameters(row)).await?.try_get(0)?;
                    self.images.entry(table.clone()).or_default().insert(image);
                }
            }
        }
        let changes = self.changes.entry(table).or_default();
        if !changes.contains(&finder.change) {
            changes.push(finder.change.clone());
        }
        Ok(())
    }

    async fn captured(&mut self, client: &Client, payload: &[u8]) -> Result<(), Unsettled> {
        let payload = String::from_utf8_lossy(payload).into_owned();
        let mut images: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for row in client.query(CAPTURED, &[&payload]).await? {
            let (sign, table, image): (String, String, String) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
            let without_key = sign != "x" && sign != "=";
            let found_by = if without_key { &mut self.images } else { &mut images };
            if without_key {
                self.tables.entry(table.clone()).or_default();
                self.rows += 1;
            }
            found_by.entry(table).or_default().insert(image);
        }
        for (table, images) in images {
            let sql = "SELECT lockstep.condition(to_regclass($1), 'x', 'r')";
            let condition: Option<String> = client.query_one(sql, &[&table]).await?.try_get(0)?;
            let condition = condition.ok_or_else(|| Unsettled::NoKey { table: table.clone() })?;
            self.rows += images.len();
            let (target, keys) = (format!("ONLY {table}"), vec![vec![Raw::array(&images)]]);
            self.tables.entry(table).or_default().push(Probe { target, images: true, condition, keys });
        }
        Ok(())
    }

    pub async fn read(&self, client: &Client) -> Result<Rows, Unsettled> {
        let mut rows = Rows::new();
        for (table, probes) in &self.tables {
            let found = rows.entry(table.clone()).or_default();
            for probe in probes {
                probe.read(client, table, found).await?;
            }
            if let Some(images) = self.images.get(table) {
                let select =
                    format!("SELECT format('%s', x.*), count(*) FROM {table} AS x WHERE {BY_IMAGE} GROUP BY 1");
                for row in client.query(&select, &[&Raw::array(images)]).await? {
                    found.insert(row.try_get(0)?, row.try_get::<_, i64>(1)?.unsigned_abs());
                }
            }
        }
        Ok(rows)
    }

    /// What is found in the table goes.
    pub async fn remove(&self, client: &Client, table: &str) -> Result<(), Unsettled> {
        if let Some(images) = self.images.get(table) {
            let delete = format!("DELETE FROM {table} AS x WHERE {BY_IMAGE}");
            client.execute(&delete, &[&Raw::array(images)]).await?;
        }
        for probe in self.tables.get(table).into_iter().flatten() {
            let Probe { target, condition, .. } = probe;
            let using = probe.joined(table, " USING ");
            let delete = client.prepare(&format!("DELETE FROM {target} AS x{using} WHERE {condition}")).await?;
            for key in &probe.keys {
                client.execute(&delete, &parameters(key)).await?;
            }
        }
        Ok(())
    }
}

impl Probe {
    async fn read(&self, client: &Client, table: &str, found: &mut BTreeMap<String, u64>) -> Result<(), Unsettled> {
        let Self { target, condition, .. } = self;
        let joined = self.joined(table, ", ");
        let select = format!("SELECT format('%s', x.*) FROM {target} AS x{joined} WHERE {condition}");
        let select = client.prepare(&select).await?;
        let (select, keys) = (&select, &self.keys);
        let reads = keys.iter().map(|key| async move { client.query(select, &parameters(key)).await });
        for row in try_join_all(reads).await?.iter().flatten() {
            found.insert(row.try_get(0)?, 1);
        }
        Ok(())
    }

    fn joined(&self, table: &str, how: &str) -> String {
        if self.images { format!("{how}unnest($1::{table}[]) AS r") } else { String::new() }
    }
}

fn parameters(key: &[Raw]) -> Vec<&(dyn ToSql + Sync)> {
    key.iter().map(|value| value as _).collect()
}
