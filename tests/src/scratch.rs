//! Directories of tests, and the janitor who leaves nothing behind.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// Waits at a pipe that closes when this process is gone, be it by a panic or by `kill -9`; then ends what still runs
/// inside the directory and removes it.
const JANITOR: &str = r#"
cat >/dev/null
for round in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    for process in /proc/[0-9]*; do
        case "$(readlink "$process/cwd")" in "$0"/*) kill -QUIT "${process#/proc/}" ;; esac
    done
    rm -rf -- "$0" && break
    sleep 0.3
done
"#;

struct Root {
    path: PathBuf,
    _janitor: Child,
}

/// The directory of this run. Everybody may pass through it, for servers run as an unprivileged user.
pub fn root() -> &'static Path {
    static ROOT: OnceLock<Root> = OnceLock::new();
    &ROOT.get_or_init(create).path
}

fn create() -> Root {
    // As the kernel names it, for processes are found by their working directory.
    let parent = std::env::temp_dir().canonicalize().expect("a temporary directory");
    let path = parent.join(format!("lockstep-tests.{}", std::process::id()));
    std::fs::create_dir(&path).expect("make the directory of this run");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("open it to the servers' user");
    let janitor = Command::new("sh")
        .args(["-c", JANITOR])
        .arg(&path)
        .current_dir("/")
        .process_group(0) // Ctrl-C is for the tests, not for who cleans up after them.
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("start the janitor");
    Root { path, _janitor: janitor }
}

/// A directory that goes when its owner goes.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
}

impl Scratch {
    pub fn new(name: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let path = root().join(format!("{name}-{}", COUNT.fetch_add(1, Ordering::Relaxed)));
        std::fs::create_dir(&path).expect("make a scratch directory");
        crate::process::give_to_server_user(&path);
        Self { path }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What stays because a process is still writing there is the janitor's.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}
