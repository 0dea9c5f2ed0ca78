//! The database side of snapshots, with a real PostgreSQL server: a dump restores to the same database, and whatever goes
//! wrong, there is no half dump, no half database and no password where it could be read.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::factory::{CONTENT, schema};
use common::postgres::{Database, PASSWORD, TRACE, forward, free_port, postgres};
use rustix::process::{Pid, Signal, kill_process};
use toolmaster::database::counts::{self, count};
use toolmaster::database::dump::{self, Options};
use toolmaster::database::load::{self, Source};
use toolmaster::database::own;
use toolmaster::error::Error;
use toolmaster::os::dir::Dir;
use toolmaster::settings::Settings;
use toolmaster::settings::pg_uri::PgUri;
use toolmaster::tree::manifest::counts::Counts;

const END: &str = "--\n-- PostgreSQL database dump complete\n--\n\n";

struct Place {
    path: tempfile::TempDir,
    dir: Dir,
}

fn place() -> Place {
    let path = tempfile::tempdir().unwrap();
    let dir = Dir::open(path.path()).unwrap();
    Place { path, dir }
}

impl Place {
    fn dump(&self, uri: &PgUri, options: &Options) -> Result<Option<Counts>, Error> {
        dump::dump(uri, options, &self.dir)
    }

    fn source(&self, counts: Option<Counts>) -> Source {
        Source { dir: self.dir.again().unwrap(), counts }
    }

    fn file(&self) -> std::path::PathBuf {
        self.path.path().join("pg_dump.sql")
    }

    /// It failed with that code and words, and there is no dump.
    fn no_dump<T: std::fmt::Debug>(&self, result: Result<T, Error>, code: u8, words: &[&str]) {
        says(&result.unwrap_err(), code, words);
        assert_eq!(fs::read_dir(self.path.path()).unwrap().count(), 0);
    }
}

fn load(uri: &PgUri, text: impl AsRef<[u8]>) -> Result<Counts, Error> {
    let place = place();
    fs::write(place.file(), text).unwrap();
    load::load(uri, &place.source(None), |_| Ok(()))
}

fn says(error: &Error, code: u8, words: &[&str]) {
    let text = error.to_string();
    assert_eq!(error.exit_code(), code, "{text}");
    assert!(words.iter().all(|word| text.contains(word)), "not {words:?}: {text}");
    assert!(!text.contains(TRACE) && !format!("{error:?}").contains(TRACE), "{text}");
    assert!(!text.contains('\n'), "{text}");
}

/// A database with one small table.
fn small() -> Database {
    let database = postgres().database();
    database.psql("CREATE TABLE t (a int); INSERT INTO t VALUES (1), (2); CREATE VIEW v AS SELECT 1 AS a;");
    database
}

/// The processes whose arguments or environment satisfy that.
fn processes(file: &str, wanted: impl Fn(&str) -> bool) -> Vec<(i32, String)> {
    let numbers = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let read = |number: i32| {
        Some((number, String::from_utf8_lossy(&fs::read(format!("/proc/{number}/{file}")).ok()?).into_owned()))
    };
    numbers.filter_map(read).filter(|(_, text)| wanted(text)).collect()
}

/// Runs something, and meanwhile looks for the password in all processes' arguments.
fn watched<T>(work: impl FnOnce() -> T) -> T {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let (mut looks, mut programs) = (0, 0);
            while !done.load(Ordering::Relaxed) {
                let seen = processes("cmdline", |text| text.contains(TRACE));
                assert!(seen.is_empty(), "{seen:?}");
                programs += processes("cmdline", |text| text.contains("pg_dump\0") || text.contains("psql\0")).len();
                looks += 1;
                std::thread::sleep(Duration::from_millis(5));
            }
            assert!(looks > 0 && programs > 0, "{looks} {programs}");
        });
        let result = work();
        done.store(true, Ordering::Relaxed);
        watcher.join().unwrap();
        result
    })
}

#[test]
fn a_dump_makes_an_equal_database() {
    let (from, to, place) = (postgres().database(), postgres().database(), place());
    from.psql(&schema(1_000_000));
    let counts = watched(|| place.dump(&from.uri(), &Options::default())).unwrap().unwrap();
    for name in ["pg_dump.sql", "globals.sql"] {
        let metadata = fs::metadata(place.path.path().join(name)).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    }
    let found = watched(|| load::load(&to.uri(), &place.source(Some(counts.clone())), |_| Ok(()))).unwrap();
    common::assert_unchanged(&from.psql(CONTENT), &to.psql(CONTENT));
    assert_eq!((&count(&from.uri()).unwrap(), &found), (&counts, &counts));
    assert_eq!((counts.tables(), counts.large_objects, counts.rows()), (7, 2, 1_000_009));
    common::assert_unchanged(&from.dump(), &to.dump());

    // Psql alone takes it too.
    let stock = postgres().database();
    stock.psql(&fs::read_to_string(place.file()).unwrap());
    common::assert_unchanged(&from.psql(CONTENT), &stock.psql(CONTENT));

    says(
        &load::load(&to.uri(), &place.source(None), |_| Ok(())).unwrap_err(),
        2,
        &["is not empty: nothing was changed"],
    );
    for somebodys in ["CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'", "CREATE TYPE e AS ENUM ('a')"] {
        let database = postgres().database();
        database.psql(somebodys);
        says(
            &load::load(&database.uri(), &place.source(None), |_| Ok(())).unwrap_err(),
            2,
            &["is not empty: nothing was changed"],
        );
    }
    assert!(load::holds(&to.uri(), &place.source(None)).unwrap());
    assert!(!load::holds(&postgres().database().uri(), &place.source(None)).unwrap());
    to.psql("DELETE FROM log; SELECT lo_unlink(4711); CREATE TABLE more (); DROP TABLE child");
    assert_eq!(count(&to.uri()).unwrap().differences(&counts).len(), 4);
    assert!(load::holds(&to.uri(), &place.source(None)).unwrap(), "it was loaded, whatever became of it");
    stock.psql("DELETE FROM log");
    assert!(!load::holds(&stock.uri(), &place.source(Some(counts))).unwrap());
}

#[test]
fn a_database_with_anything_in_it_is_not_empty() {
    let database = postgres().database();
    assert!(counts::is_empty(&database.uri()).unwrap());
    for (make, undo) in [
        ("SELECT lo_create(1)", "SELECT lo_unlink(1)"),
        ("CREATE TABLE t ()", "DROP TABLE t"),
        ("CREATE SCHEMA x; CREATE VIEW x.v AS SELECT 1", "DROP SCHEMA x CASCADE"),
    ] {
        database.psql(make);
        assert!(!counts::is_empty(&database.uri()).unwrap(), "{make}");
        says(&load(&database.uri(), END).unwrap_err(), 2, &["is not empty"]);
        database.psql(undo);
    }
    assert!(counts::is_empty(&database.uri()).unwrap());
}

#[test]
fn options_of_the_operator_reach_pg_dump() {
    let (database, place) = (small(), place());
    database.psql("CREATE TABLE log (a int); INSERT INTO log VALUES (1)");
    let options = Options { pg_options: vec!["--exclude-table=log".to_owned()], ..Options::default() };
    let counts = place.dump(&database.uri(), &options).unwrap().unwrap();
    assert_eq!((counts.tables(), counts.get("public", "t")), (1, Some(2)));
    let text = fs::read_to_string(place.file()).unwrap();
    assert!(text.contains("public.t") && !text.contains("public.log"));
    let place = self::place();
    let options = Options { pg_options: vec!["--no-such-option".to_owned()], ..Options::default() };
    place.no_dump(place.dump(&database.uri(), &options), 1, &["no-such-option"]);
}

#[test]
fn a_pg_dump_that_is_killed_leaves_no_dump() {
    let (database, place) = (small(), place());
    let _lock = database.lock("v");
    let own = format!("PGDATABASE={}\0", database.name);
    std::thread::scope(|scope| {
        let run = scope.spawn(|| place.dump(&database.uri(), &Options::default()));
        let find = || processes("environ", |text| text.contains(&own) && text.contains("PGCONNECT_TIMEOUT"));
        while !database.waits() {
            std::thread::sleep(Duration::from_millis(20));
        }
        assert!(place.file().exists());
        for (number, _) in find() {
            kill_process(Pid::from_raw(number).unwrap(), Signal::KILL).unwrap();
        }
        place.no_dump(run.join().unwrap(), 1, &["pg_dump failed", "signal: 9", " -> "]);
    });
}

#[test]
fn a_dump_that_hangs_is_ended_at_its_limit() {
    let (database, place) = (small(), place());
    let _lock = database.lock("v");
    let options = Options { limit: Duration::from_secs(1), ..Options::default() };
    place.no_dump(place.dump(&database.uri(), &options), 1, &["took longer than 1 s and was ended"]);
    let start = Instant::now();
    while database.waits() {
        assert!(start.elapsed() < Duration::from_secs(60), "it is still connected");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_database_that_is_down_is_said_at_once_or_waited_for() {
    let (database, place) = (small(), place());
    let port = free_port();
    let text = postgres().uri_text(&database.name).replace(&format!(":{}/", postgres().port), &format!(":{port}/"));
    let uri = PgUri::parse(&text).unwrap();
    place.no_dump(place.dump(&uri, &Options::default()), 1, &["Connection refused", "start the database"]);
    std::thread::scope(|scope| {
        let run = scope.spawn(|| place.dump(&uri, &Options { wait: true, ..Options::default() }));
        std::thread::sleep(Duration::from_secs(1));
        forward(port, postgres().port);
        assert_eq!(run.join().unwrap().unwrap().unwrap().rows(), 2);
    });
}

#[test]
fn a_wrong_password_is_said_without_it() {
    let (database, place) = (small(), place());
    let text = format!("postgresql://app:{TRACE}-wrong@127.0.0.1:{}/{}", postgres().port, database.name);
    let uri = PgUri::parse(&text).unwrap();
    let words = ["password authentication failed", "/etc/toolmaster/postgres-password"];
    // Waiting would not make it right.
    let options = Options { wait: true, ..Options::default() };
    place.no_dump(place.dump(&uri, &options), 1, &words);
    place.no_dump(place.dump(&uri, &Options::default()), 1, &words);
    let missing = postgres().uri("no_such_database");
    place.no_dump(place.dump(&missing, &Options::default()), 1, &["does not exist", "correct the database"]);
}

#[test]
fn a_disk_that_is_full_is_named() {
    let database = small();
    database.psql("INSERT INTO t SELECT generate_series(1, 300000)");
    let path = tempfile::tempdir_in("/run").unwrap();
    let full = path.path().to_str().unwrap();
    common::tool("mount", &["-t", "tmpfs", "-o", "size=1m", "tmpfs", full]);
    let dir = Dir::open(path.path()).unwrap();
    let result = dump::dump(&database.uri(), &Options::default(), &dir);
    let left = fs::read_dir(path.path()).unwrap().count();
    drop(dir);
    // Lazily: a program that another test is just starting may hold our descriptors for a moment.
    common::tool("umount", &["--lazy", full]);
    says(&result.unwrap_err(), 1, &[&format!("{full}/pg_dump.sql"), "No space left", "make room there"]);
    assert_eq!(left, 0);
}

/// Runs one of the ignored tests below in a namespace where `pg_dump` and `psql` are not installed.
#[test]
fn programs_that_are_missing_are_named() {
    let hide =
        "mkdir -p /run/hide/upper /run/hide/work; for name in pg_dump pg_dumpall psql; do mknod /run/hide/upper/$name c 0 0; done
        mount -t overlay -o lowerdir=/usr/bin,upperdir=/run/hide/upper,workdir=/run/hide/work overlay /usr/bin
        exec \"$@\"";
    let own = std::env::current_exe().unwrap();
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-euc", hide, "sh"]).arg(own);
    let output = command.args(["--ignored", "--exact", "without_programs"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

#[test]
#[ignore = "run by programs_that_are_missing_are_named"]
fn without_programs() {
    if Path::new("/usr/bin/pg_dump").exists() {
        return;
    }
    let uri = PgUri::parse("postgresql://app@127.0.0.1:1/db").unwrap();
    let place = place();
    let words = ["is not installed", "sudo apt install postgresql-client"];
    place.no_dump(place.dump(&uri, &Options::default()), 78, &words);
    says(&load(&uri, END).unwrap_err(), 78, &words);
}

#[test]
fn a_broken_dump_leaves_the_database_empty() {
    let database = postgres().database();
    let table = "--\n-- Name: t; Type: TABLE; Schema: public; Owner: -\n--\n\nCREATE TABLE public.t (a int);\n";
    let rows = "--\n-- Data for Name: t; Type: TABLE DATA; Schema: public; Owner: -\n--\n\nCOPY public.t (a) FROM stdin;\n1\n\\.\n";
    for (rest, code, words) in [
        (format!("SELECT no_such_function();\n{END}"), 1, "no_such_function"),
        (format!("COPY public.t (a) FROM stdin;\nx\n\\.\n{END}"), 1, "invalid input syntax"),
        (format!("DELETE FROM public.t;\n{END}"), 1, "public.t has 0 rows, the dump 1"),
        (format!("CREATE TABLE more ();\n{END}"), 1, "public.more is not in the dump"),
        (String::new(), 2, "is not whole"),
        ("COPY public.t (a) FROM stdin;\n2\n".to_owned(), 2, "is not whole"),
        ("ALTER TABLE public.t".to_owned(), 2, "is not whole"),
        (format!("ROLLBACK;\n{END}SELECT 1;\n"), 2, "is not whole"),
    ] {
        let error = load(
            &database.uri(),
            format!("{table}{rows}{rest}").replace("CREATE TABLE more", "CREATE TABLE public.more"),
        )
        .unwrap_err();
        says(&error, code, &[words]);
        assert!(counts::is_empty(&database.uri()).unwrap(), "{rest}");
        assert_eq!(postgres().left(), "", "{rest}");
    }
    load(&database.uri(), format!("{table}{rows}{END}")).unwrap();
    assert_eq!(database.psql("SELECT a FROM t"), "1\n");
    assert_eq!(postgres().left(), "");
}

#[test]
fn settings_name_the_database() {
    let root = tempfile::tempdir().unwrap();
    let read = |uri: Option<&str>| {
        let vars = [("SERVER_ROOT", root.path().to_str()), ("PG_URI", uri)];
        Settings::read(|name| vars.iter().find(|(key, _)| *key == name)?.1.map(str::to_owned)).unwrap()
    };
    says(&own::database(&read(None), None).unwrap_err(), 78, &[".env", "can't be read"]);
    fs::write(root.path().join(".env"), "POSTGRES_USER=app\r\nPOSTGRES_DB='sensor db'\r\n").unwrap();
    says(&own::database(&read(None), None).unwrap_err(), 78, &[own::PASSWORD_FILE]);
    // /etc is this test's own: scripts/in-namespace.
    fs::create_dir_all("/etc/toolmaster").unwrap();
    fs::write(own::PASSWORD_FILE, format!("{PASSWORD}\n")).unwrap();
    let uri = own::database(&read(None), None).unwrap();
    let found = (uri.user(), uri.database(), uri.host(), uri.port(), uri.password());
    assert_eq!(found, ("app", "sensor db", "127.0.0.1", 5432, Some(PASSWORD)));
    let settings = read(Some("postgresql://u@h/d"));
    assert_eq!(own::database(&settings, None).unwrap().host(), "h");
    assert_eq!(own::database(&settings, Some("postgresql://u@flag/d")).unwrap().host(), "flag");
    says(&own::database(&settings, Some(&format!("app:{TRACE}"))).unwrap_err(), 78, &["--pg-uri"]);
}
