//! Where unqualified names are looked for.

use bytes::Bytes;

use super::CatalogFault;

/// The schemas that a session searches, in their order, `pg_catalog` and its temporary one included.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SearchPath {
    schemas: Vec<String>,
}

impl SearchPath {
    pub fn new(schemas: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { schemas: schemas.into_iter().map(Into::into).collect() }
    }

    /// From the answer to [`super::SEARCH_PATH_QUERY`].
    pub fn from_row(row: &[Option<Bytes>]) -> Result<Self, CatalogFault> {
        let Some(Some(list)) = row.first() else { return Ok(Self { schemas: Vec::new() }) };
        let list = std::str::from_utf8(list).map_err(|_| CatalogFault::Malformed("the search path"))?;
        let exact = |hex: &str| String::from_utf8(bytes_of(hex)?).ok();
        let schemas = list.split_ascii_whitespace().map(exact).collect::<Option<_>>();
        Ok(Self { schemas: schemas.ok_or(CatalogFault::Malformed("the search path"))? })
    }

    pub fn schemas(&self) -> impl Iterator<Item = &str> {
        self.schemas.iter().map(String::as_str)
    }
}

/// What is not UTF-8 in it is replaced.
pub(super) fn from_hex(hex: &str) -> Option<String> {
    Some(String::from_utf8_lossy(&bytes_of(hex)?).into_owned())
}

fn bytes_of(hex: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = hex.chars().map(|c| c.to_digit(16).map(|d| d as u8)).collect();
    let digits = digits.filter(|digits| digits.len() % 2 == 0);
    Some(digits?.chunks(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemas_come_in_hexadecimal() {
        let path = SearchPath::from_row(&[Some(Bytes::from_static(b"7075626c6963 c3a9"))]).unwrap();
        assert_eq!(path, SearchPath::new(["public", "é"]));
        assert_eq!(SearchPath::from_row(&[None]).unwrap(), SearchPath::new([""; 0]));
        assert!(SearchPath::from_row(&[Some(Bytes::from_static(b"zz"))]).is_err());
        assert!(SearchPath::from_row(&[Some(Bytes::from_static(b"16385"))]).is_err(), "half a byte");
    }
}
