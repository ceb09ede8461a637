//! One row of an answer, read value by value.

use bytes::Bytes;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CatalogFault {
    #[error("{0} came in a form that is not understood")]
    Malformed(&'static str),
}

/// One row, read column by column.
pub(super) struct Row<'a> {
    pub what: &'static str,
    values: std::slice::Iter<'a, Option<Bytes>>,
    /// A text was not UTF-8, or may not have been meant as that.
    pub unreadable: bool,
    foreign_encoding: bool,
}

impl<'a> Row<'a> {
    pub fn new(values: &'a [Option<Bytes>], foreign_encoding: bool) -> Self {
        Self { what: "a row", values: values.iter(), unreadable: false, foreign_encoding }
    }

    pub fn fault(&self) -> CatalogFault {
        CatalogFault::Malformed(self.what)
    }

    fn value(&mut self) -> Result<Option<&'a Bytes>, CatalogFault> {
        self.values.next().map(Option::as_ref).ok_or(self.fault())
    }

    pub fn optional(&mut self) -> Result<Option<String>, CatalogFault> {
        let Some(bytes) = self.value()? else { return Ok(None) };
        let text = String::from_utf8_lossy(bytes);
        self.unreadable |= std::str::from_utf8(bytes).is_err() || (self.foreign_encoding && !bytes.is_ascii());
        Ok(Some(text.into_owned()))
    }

    pub fn text(&mut self) -> Result<String, CatalogFault> {
        self.optional()?.ok_or(self.fault())
    }

    /// An OID or a number; an action of the server's that is not there is 0 or `-`.
    pub fn number<T: std::str::FromStr>(&mut self) -> Result<T, CatalogFault> {
        let text = self.text()?;
        text.parse().map_err(|_| self.fault())
    }

    pub fn bool(&mut self) -> Result<bool, CatalogFault> {
        Ok(self.optional()?.as_deref() == Some("t"))
    }

    /// A column of type "char": empty when it is a zero byte.
    pub fn letter(&mut self) -> Result<u8, CatalogFault> {
        Ok(self.value()?.and_then(|v| v.first().copied()).unwrap_or(0))
    }
}
