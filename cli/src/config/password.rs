//! A password from where libpq looks for it: `PGPASSWORD`, then the file in `PGPASSFILE`, then `~/.pgpass`.

use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// What the process was started with; an argument, so that tests need not change their own.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    pub password: Option<String>,
    pub passfile: Option<PathBuf>,
    pub home: Option<PathBuf>,
}

/// Whom the password is for.
#[derive(Debug, Clone, Copy)]
pub struct Server<'a> {
    pub host: &'a str,
    pub port: u16,
    pub database: &'a str,
    pub user: &'a str,
}

impl Environment {
    pub fn of_process() -> Self {
        let path = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        Self {
            password: std::env::var("PGPASSWORD").ok().filter(|password| !password.is_empty()),
            passfile: path("PGPASSFILE"),
            home: path("HOME"),
        }
    }

    pub fn password_for(&self, server: Server<'_>) -> Option<String> {
        self.password.clone().or_else(|| {
            let named = self.passfile.clone();
            let file = named.clone().or_else(|| Some(self.home.as_ref()?.join(".pgpass")))?;
            let text = match read_private(&file) {
                Ok(text) => text,
                // Nobody has asked for this one.
                Err(NotUsed::Unreadable(error)) if error.kind() == ErrorKind::NotFound && named.is_none() => {
                    return None;
                }
                Err(why) => {
                    tracing::warn!(file = %file.display(), "password file not used: {why}");
                    return None;
                }
            };
            let found = text.lines().find_map(|line| match_line(line, server));
            if let (None, Some(file), Server { host, port, database, user }) = (&found, named, server) {
                tracing::warn!(file = %file.display(), "PGPASSFILE has no line for {host}:{port}:{database}:{user}");
            }
            found
        })
    }
}

#[derive(Debug, thiserror::Error)]
enum NotUsed {
    #[error("others may read it; chmod it to 0600")]
    Public,
    #[error("it is not a file")]
    NoFile,
    #[error("{0}")]
    Unreadable(#[from] std::io::Error),
}

/// PostgreSQL does not use a password file that others may read, and neither do we.
fn read_private(file: &Path) -> Result<String, NotUsed> {
    let found = std::fs::metadata(file)?;
    if !found.is_file() {
        return Err(NotUsed::NoFile);
    }
    if found.permissions().mode() & 0o077 != 0 {
        return Err(NotUsed::Public);
    }
    Ok(std::fs::read_to_string(file)?)
}

/// One line `host:port:database:user:password`; `*` fits all, `\` takes the meaning from a `:` or a `\`.
fn match_line(line: &str, server: Server<'_>) -> Option<String> {
    if line.starts_with('#') {
        return None;
    }
    let [host, port, database, user, password] = fields(line)?;
    let fits = |field: &str, value: &str| field == "*" || field == value;
    // libpq calls every Unix socket "localhost" here.
    let same_host = fits(&host, server.host) || (host == "localhost" && server.host.starts_with('/'));
    let same = same_host
        && fits(&port, &server.port.to_string())
        && fits(&database, server.database)
        && fits(&user, server.user);
    same.then_some(password)
}

fn fields(line: &str) -> Option<[String; 5]> {
    let mut fields = vec![String::new()];
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        match character {
            ':' if fields.len() < 5 => fields.push(String::new()),
            '\\' => fields.last_mut()?.extend(characters.next()),
            other => fields.last_mut()?.push(other),
        }
    }
    fields.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVER: Server<'_> = Server { host: "alp", port: 5432, database: "postgres", user: "lockstep" };

    #[test]
    fn a_line_fits_by_value_or_by_star() {
        assert_eq!(match_line("alp:5432:postgres:lockstep:secret", SERVER), Some("secret".into()));
        assert_eq!(match_line("*:*:*:lockstep:secret", SERVER), Some("secret".into()));
        for other in
            ["midna:*:*:*:x", "alp:5433:*:*:x", "alp:*:shop:*:x", "alp:*:*:postgres:x", "#alp:*:*:*:x", "alp:x"]
        {
            assert_eq!(match_line(other, SERVER), None, "{other}");
        }
    }

    #[test]
    fn a_backslash_takes_the_meaning_from_a_colon() {
        assert_eq!(match_line(r"alp:*:*:*:se\:cr\\et", SERVER), Some(r"se:cr\et".into()));
        assert_eq!(match_line("alp:*:*:*:se:cret", SERVER), Some("se:cret".into()));
    }

    #[test]
    fn a_unix_socket_is_localhost() {
        let server = Server { host: "/var/run/postgresql", ..SERVER };
        assert_eq!(match_line("localhost:*:*:*:secret", server), Some("secret".into()));
    }

    #[test]
    fn the_environment_comes_before_the_file() {
        let environment = Environment { password: Some("first".into()), ..Environment::default() };
        assert_eq!(environment.password_for(SERVER), Some("first".into()));
    }

    #[test]
    fn a_file_that_others_may_read_is_not_used() {
        let directory = std::env::temp_dir().join(format!("lockstep-passfile-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let file = directory.join(".pgpass");
        std::fs::write(&file, "*:*:*:*:secret\n").unwrap();
        let environment = Environment { home: Some(directory.clone()), ..Environment::default() };
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
        let public = environment.password_for(SERVER);
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        let private = environment.password_for(SERVER);
        std::fs::remove_dir_all(&directory).unwrap();
        assert_eq!((public, private), (None, Some("secret".into())));
    }
}
