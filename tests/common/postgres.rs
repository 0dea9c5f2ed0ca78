//! A real PostgreSQL server for the tests of one binary: made in a temporary directory, on a free port of 127.0.0.1, with
//! password logins. It ends with the test process, however that ends: a shell holds it and waits on a pipe of ours.

use std::fs;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use toolmaster::settings::pg_uri::PgUri;

/// What must never be seen; quotes and letters beyond ASCII, as people choose them.
pub const PASSWORD: &str = "s3cret'/@:%秘密";
/// The part of it that is searched for.
pub const TRACE: &str = "s3cret";
const ENCODED: &str = "s3cret%27%2F%40%3A%25%E7%A7%98%E5%AF%86";

/// Makes the server, runs it, and removes it once nobody holds the pipe any more.
const KEEPER: &str = r#"
bin=$1 dir=$2 port=$3
as='setpriv --reuid=postgres --regid=postgres --init-groups'
$as "$bin/initdb" -D "$dir/data" -U app --pwfile="$dir/password" -A scram-sha-256 -E UTF8 --locale=C.UTF-8 --no-sync
$as "$bin/postgres" -D "$dir/data" -p "$port" -k "$dir" -c listen_addresses=127.0.0.1 \
  -c fsync=off -c full_page_writes=off -c autovacuum=off &
read -r _ || true
kill -QUIT $!
wait $! || true
rm -rf "$dir"
"#;

/// The server.
pub struct Postgres {
    /// Its port.
    pub port: u16,
    keeper: Child,
}

/// The server of this test binary, started at the first call.
pub fn postgres() -> &'static Postgres {
    static SERVER: OnceLock<Postgres> = OnceLock::new();
    SERVER.get_or_init(Postgres::start)
}

/// Where PostgreSQL's programs are, its server among them.
pub fn programs() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").map(|dir| dir.flatten().collect()).unwrap_or(vec![]);
    let mut found: Vec<PathBuf> = versions.into_iter().map(|version| version.path().join("bin")).collect();
    found.retain(|bin| bin.join("initdb").exists());
    found.sort();
    found.pop().expect("no PostgreSQL server: apt-get install postgresql")
}

impl Postgres {
    fn start() -> Postgres {
        let dir = tempfile::tempdir().unwrap().keep();
        fs::write(dir.join("password"), format!("{PASSWORD}\n")).unwrap();
        super::tool("chown", &["-R", "postgres:postgres", dir.to_str().unwrap()]);
        let port = free_port();
        let log = fs::File::create(dir.join("log")).unwrap();
        let keeper = Command::new("setsid")
            .args(["sh", "-euc", KEEPER, "keeper"])
            .args([programs().as_os_str(), dir.as_os_str()])
            .arg(port.to_string())
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let server = Postgres { port, keeper };
        let start = Instant::now();
        while server.try_psql("postgres", "SELECT 1").is_err() {
            let log = || fs::read_to_string(dir.join("log")).unwrap_or_default();
            assert!(start.elapsed() < Duration::from_secs(60), "PostgreSQL does not come up: {}", log());
            sleep(Duration::from_millis(100));
        }
        server
    }

    /// How a database is reached.
    pub fn uri(&self, database: &str) -> PgUri {
        PgUri::parse(&self.uri_text(database)).unwrap()
    }

    /// The same as operators write it.
    pub fn uri_text(&self, database: &str) -> String {
        format!("postgresql://app:{ENCODED}@127.0.0.1:{}/{database}", self.port)
    }

    /// A new, empty database.
    pub fn database(&'static self) -> Database {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("test_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        self.psql("postgres", &format!("CREATE DATABASE {name} TEMPLATE template0"));
        Database { name, server: self }
    }

    /// What psql answers.
    pub fn psql(&self, database: &str, sql: &str) -> String {
        self.try_psql(database, sql).unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    fn try_psql(&self, database: &str, sql: &str) -> Result<String, String> {
        let mut child = self.psql_command(database).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // If it does not read to the end, it says why.
        let _ = child.stdin.take().unwrap().write_all(sql.as_bytes());
        let output = child.wait_with_output().unwrap();
        if output.status.success() {
            Ok(String::from_utf8(output.stdout).unwrap())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }

    fn psql_command(&self, database: &str) -> Command {
        let mut command = Command::new("psql");
        command
            .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-f", "-"])
            .envs(self.uri(database).environment());
        command.env("PGCLIENTENCODING", "UTF8").stdin(Stdio::piped());
        command
    }

    /// The scratch databases that there are.
    pub fn scratch_databases(&self) -> String {
        self.psql("postgres", "SELECT datname FROM pg_database WHERE datname LIKE 'toolmaster%'")
    }

    /// The databases and roles of our own that there are.
    pub fn left(&self) -> String {
        self.psql(
            "postgres",
            "SELECT datname FROM pg_database WHERE datname LIKE 'toolmaster%' UNION ALL SELECT rolname FROM pg_roles WHERE rolname LIKE 'toolmaster%'",
        )
    }

    /// The process that keeps the server.
    pub fn keeper(&self) -> u32 {
        self.keeper.id()
    }
}

/// A port that nobody listens on.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Hands connections to a port on to another one, from now on.
pub fn forward(from: u16, to: u16) {
    let listener = TcpListener::bind(("127.0.0.1", from)).unwrap();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let server = TcpStream::connect(("127.0.0.1", to)).unwrap();
            let pairs = [(&client, &server), (&server, &client)].map(|(a, b)| (a.try_clone(), b.try_clone()));
            for (reader, writer) in pairs {
                let (mut reader, mut writer) = (reader.unwrap(), writer.unwrap());
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut reader, &mut writer);
                    let _ = writer.shutdown(std::net::Shutdown::Both);
                });
            }
        }
    });
}

/// A database that goes with this.
pub struct Database {
    /// Its name.
    pub name: String,
    server: &'static Postgres,
}

impl Database {
    /// How it is reached.
    pub fn uri(&self) -> PgUri {
        self.server.uri(&self.name)
    }

    /// What psql answers.
    pub fn psql(&self, sql: &str) -> String {
        self.server.psql(&self.name, sql)
    }

    /// Another session that holds a lock on all of a table, so that a dump waits for it.
    pub fn lock(&self, table: &str) -> Session {
        let mut child = self.server.psql_command(&self.name).stdout(Stdio::null()).spawn().unwrap();
        let sql = format!("BEGIN; LOCK TABLE {table};\n");
        child.stdin.as_mut().unwrap().write_all(sql.as_bytes()).unwrap();
        let held = format!(
            "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND relation = '{table}'::regclass"
        );
        while self.psql(&held) == "0\n" {
            sleep(Duration::from_millis(20));
        }
        Session(child)
    }

    /// What stock `pg_dump` says of it, without what differs from run to run.
    pub fn dump(&self) -> String {
        let mut command = Command::new("pg_dump");
        command.args(["--no-owner", "--no-privileges"]).envs(self.uri().environment());
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.lines().filter(|line| !line.contains("restrict ")).map(|line| format!("{line}\n")).collect()
    }

    /// Another session that does nothing.
    pub fn session(&self) -> Session {
        let child = self.server.psql_command(&self.name).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        while self.sessions() != "psql\n" {
            sleep(Duration::from_millis(20));
        }
        Session(child)
    }

    /// The names of the programs that are connected to it, this one not counted.
    pub fn sessions(&self) -> String {
        self.psql(
            "SELECT application_name FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()",
        )
    }

    /// Whether a session waits for somebody's lock.
    pub fn waits(&self) -> bool {
        let waiting =
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
        self.psql(waiting) != "0\n"
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let _ = self.server.try_psql("postgres", &format!("DROP DATABASE {} WITH (FORCE)", self.name));
    }
}

/// A session of psql that ends with this.
pub struct Session(Child);

impl Drop for Session {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}
