//! Who may log in. Every server of the harness has these roles, and so has the proxy's users file.

/// How a server's `pg_hba.conf` lets a role in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    Scram,
    Md5,
    Cleartext,
    Trust,
}

impl Method {
    /// The method's name in `pg_hba.conf`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Scram => "scram-sha-256",
            Self::Md5 => "md5",
            Self::Cleartext => "password",
            Self::Trust => "trust",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct User {
    pub name: &'static str,
    pub password: &'static str,
    pub method: Method,
}

/// The superuser; also the proxy's own account.
pub const SUPERUSER: User = User { name: "postgres", password: "secret", method: Method::Scram };

/// An application: no superuser, owner of the databases that tests make.
pub const APP: User = User { name: "app", password: "app-secret", method: Method::Scram };

pub const APP_MD5: User = User { name: "app_md5", password: "md5-secret", method: Method::Md5 };
pub const APP_CLEARTEXT: User = User { name: "app_cleartext", password: "plain-secret", method: Method::Cleartext };
pub const APP_TRUST: User = User { name: "app_trust", password: "trust-secret", method: Method::Trust };

/// Everybody, the superuser first.
pub const ALL: [User; 5] = [SUPERUSER, APP, APP_MD5, APP_CLEARTEXT, APP_TRUST];
