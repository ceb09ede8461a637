//! As whom the effects that follow are applied, until the end of the transaction or another role.

use std::sync::LazyLock;

use bytes::{BufMut, BytesMut};

use super::Template;

/// Its parameter is the role's name as the server has it, or `none` for that of the login.
pub static SET_ROLE: LazyLock<Template> =
    LazyLock::new(|| Template::new("SELECT pg_catalog.set_config('role',$1,true)".into()));

/// The parameter of [`SET_ROLE`], as text.
pub fn parameters(role: &str) -> BytesMut {
    let mut out = BytesMut::with_capacity(role.len() + 4);
    out.put_u32(role.len() as u32);
    out.put_slice(role.as_bytes());
    out
}
