//! The data directory that every server starts from.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::OnceLock;

use crate::scratch;
use crate::users::{self, Method, SUPERUSER};
use crate::{process, programs};

/// Quick to start, small, and without what only a power cut would need: a killed server has all that it committed. Shared memory lives in files of the data
/// directory, so that a killed server leaves none behind.
const SETTINGS: &str = "
listen_addresses = '127.0.0.1'
unix_socket_directories = '..'
fsync = off
full_page_writes = off
shared_buffers = 16MB
max_connections = 100
dynamic_shared_memory_type = mmap
logging_collector = off
log_line_prefix = '%m [%p] %q%u@%d %a '
";

/// Made on first use.
pub fn directory() -> &'static Path {
    static TEMPLATE: OnceLock<PathBuf> = OnceLock::new();
    TEMPLATE.get_or_init(create)
}

fn create() -> PathBuf {
    let home = scratch::root().join("template");
    std::fs::create_dir(&home).expect("make the template's directory");
    process::give_to_server_user(&home);
    let data = home.join("data");
    initdb(&home, &data);
    append(&data.join("postgresql.conf"), SETTINGS);
    std::fs::write(data.join("pg_hba.conf"), host_based_access()).expect("write pg_hba.conf");
    create_roles(&data);
    data
}

fn initdb(home: &Path, data: &Path) {
    let password = home.join("password");
    std::fs::write(&password, SUPERUSER.password).expect("write the superuser's password");
    process::give_to_server_user(&password);
    let mut initdb = process::as_server_user(programs::postgres("initdb"));
    initdb.args(["--no-sync", "--encoding=UTF8", "--locale=C.UTF-8", "--auth=scram-sha-256"]);
    initdb.args(["-U", SUPERUSER.name, "--pwfile"]).arg(&password).arg(data);
    process::run(&mut initdb);
}

/// First match wins: the roles with a method of their own, then everybody by SCRAM.
fn host_based_access() -> String {
    let mut lines = String::from("local all all trust\n");
    for user in users::ALL.iter().filter(|user| user.method != Method::Scram) {
        let _ = writeln!(lines, "host all {} 127.0.0.1/32 {}", user.name, user.method.name());
    }
    lines.push_str("host all all 127.0.0.1/32 scram-sha-256\n");
    lines.push_str("host replication all 127.0.0.1/32 scram-sha-256\n");
    lines
}

/// In single-user mode, where a line is a command: quicker than to start and stop a server.
fn create_roles(data: &Path) {
    let mut script = String::new();
    for user in users::ALL.iter().filter(|user| **user != SUPERUSER) {
        let stored = if user.method == Method::Md5 { "md5" } else { "scram-sha-256" };
        let _ = writeln!(script, "SET password_encryption = '{stored}'");
        let _ = writeln!(script, "CREATE ROLE {} LOGIN CREATEDB PASSWORD '{}'", user.name, user.password);
    }
    let mut single = process::as_server_user(programs::postgres("postgres"));
    single.args(["--single", "-j", "-D"]).arg(data).arg("postgres");
    single.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = single.spawn().expect("start a single-user server");
    let commands = script.replace('\n', ";\n\n"); // With -j a command ends at a semicolon and an empty line.
    child.stdin.take().expect("its input").write_all(commands.as_bytes()).expect("write its commands");
    let output = child.wait_with_output().expect("wait for it");
    let said = process::said(&output);
    assert!(output.status.success() && !said.contains("ERROR"), "roles could not be made:\n{said}");
}

fn append(path: &Path, text: &str) {
    let mut file = std::fs::OpenOptions::new().append(true).open(path).expect("open a configuration file");
    file.write_all(text.as_bytes()).expect("write a configuration file");
}
