//! The database side of snapshots, with a real PostgreSQL server: a dump restores to the same database, and whatever goes
//! wrong, there is no half dump, no half database and no password where it could be read.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::factory::{CONTENT, schema};
use common::postgres::{Database, PASSWORD, TRACE, forward, free_port, postgres};
use rustix::process::{Pid, Signal, kill_process};
use toolmaster::database::dump::{self, Options};
use toolmaster::database::{load, own};
use toolmaster::error::Error;
use toolmaster::os::dir::Dir;
use toolmaster::settings::Settings;
use toolmaster::settings::pg_uri::PgUri;

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
    fn dump(&self, uri: &PgUri, options: &Options) -> Result<u64, Error> {
        dump::dump(uri, options, &self.dir, b"pg_dump.sql")
    }

    fn file(&self) -> std::path::PathBuf {
        self.path.path().join("pg_dump.sql")
    }

    /// It failed with that code and words, and there is no dump.
    fn no_dump(&self, result: Result<u64, Error>, code: u8, words: &[&str]) {
        says(&result.unwrap_err(), code, words);
        assert!(!self.file().exists());
    }
}

fn load(uri: &PgUri, text: impl AsRef<[u8]>) -> Result<(), Error> {
    load::load(uri, text.as_ref(), "the dump", Duration::from_secs(60)).map(drop)
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
    database.psql("CREATE TABLE t (a int); INSERT INTO t VALUES (1), (2);");
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
    let size = watched(|| place.dump(&from.uri(), &Options::default())).unwrap();
    let metadata = fs::metadata(place.file()).unwrap();
    assert_eq!((metadata.len(), metadata.permissions().mode() & 0o777), (size, 0o600));

    let contents = watched(|| load::load(&to.uri(), File::open(place.file()).unwrap(), "it", load::LIMIT)).unwrap();
    common::assert_unchanged(&from.psql(CONTENT), &to.psql(CONTENT));
    let summary = load::summary(&from.uri()).unwrap();
    assert_eq!(summary, load::summary(&to.uri()).unwrap());
    assert_eq!(summary.differences(&contents), Vec::<String>::new());
    assert_eq!((summary.tables.len(), summary.large_objects, contents.rows()), (7, 2, 1_000_009));

    // Psql alone takes it too.
    let stock = postgres().database();
    stock.psql(&fs::read_to_string(place.file()).unwrap());
    common::assert_unchanged(&from.psql(CONTENT), &stock.psql(CONTENT));

    let error = load::load(&to.uri(), File::open(place.file()).unwrap(), "it", load::LIMIT).unwrap_err();
    says(&error, 2, &["is not empty: nothing was changed"]);

    let differences = {
        to.psql("DELETE FROM log; SELECT lo_unlink(4711); CREATE TABLE more (); DROP TABLE child");
        load::summary(&to.uri()).unwrap().differences(&contents)
    };
    assert_eq!(differences.len(), 4, "{differences:?}");
}

#[test]
fn a_database_with_anything_in_it_is_not_empty() {
    let database = postgres().database();
    assert!(load::is_empty(&database.uri()).unwrap());
    for (make, undo) in [
        ("SELECT lo_create(1)", "SELECT lo_unlink(1)"),
        ("CREATE TABLE t ()", "DROP TABLE t"),
        ("CREATE SCHEMA x; CREATE VIEW x.v AS SELECT 1", "DROP SCHEMA x CASCADE"),
    ] {
        database.psql(make);
        assert!(!load::is_empty(&database.uri()).unwrap(), "{make}");
        says(&load(&database.uri(), END).unwrap_err(), 2, &["is not empty"]);
        database.psql(undo);
    }
    assert!(load::is_empty(&database.uri()).unwrap());
}

#[test]
fn options_of_the_operator_reach_pg_dump() {
    let (database, place) = (small(), place());
    database.psql("CREATE TABLE log (a int); INSERT INTO log VALUES (1)");
    let options = Options { pg_options: vec!["--exclude-table=log".to_owned()], ..Options::default() };
    place.dump(&database.uri(), &options).unwrap();
    let text = fs::read_to_string(place.file()).unwrap();
    assert!(text.contains("public.t") && !text.contains("public.log"));
    fs::remove_file(place.file()).unwrap();
    let options = Options { pg_options: vec!["--no-such-option".to_owned()], ..Options::default() };
    place.no_dump(place.dump(&database.uri(), &options), 1, &["no-such-option"]);
}

#[test]
fn a_pg_dump_that_is_killed_leaves_no_dump() {
    let (database, place) = (small(), place());
    let _lock = database.lock("t");
    let own = format!("PGDATABASE={}\0", database.name);
    std::thread::scope(|scope| {
        let run = scope.spawn(|| place.dump(&database.uri(), &Options::default()));
        let find = || processes("environ", |text| text.contains(&own) && text.contains("PGCONNECT_TIMEOUT"));
        while !database.sessions().contains("pg_dump") {
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
    let _lock = database.lock("t");
    let options = Options { limit: Duration::from_secs(1), ..Options::default() };
    place.no_dump(place.dump(&database.uri(), &options), 1, &["took longer than 1 s and was ended"]);
    let start = Instant::now();
    while database.sessions().contains("pg_dump") {
        assert!(start.elapsed() < Duration::from_secs(5), "pg_dump is still connected");
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
        assert!(run.join().unwrap().unwrap() > 100);
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
    let result = dump::dump(&database.uri(), &Options::default(), &dir, b"pg_dump.sql");
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
        "mkdir -p /run/hide/upper /run/hide/work; for name in pg_dump psql; do mknod /run/hide/upper/$name c 0 0; done
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
    let table = "CREATE TABLE public.t (a int);\nCOPY public.t (a) FROM stdin;\n1\n\\.\n";
    let blob = "SELECT pg_catalog.lo_create('1');\nBEGIN;\nSELECT pg_catalog.lo_open('1', 131072);\nCOMMIT;\n";
    for (rest, code, words) in [
        (format!("SELECT no_such_function();\n{END}"), 1, "no_such_function"),
        (format!("COPY public.t (a) FROM stdin;\nx\n\\.\n{END}"), 1, "invalid input syntax"),
        (String::new(), 2, "is not whole"),
        ("COPY public.t (a) FROM stdin;\n2\n".to_owned(), 2, "is not whole"),
        ("ALTER TABLE public.t".to_owned(), 2, "is not whole"),
        (format!("ROLLBACK;\n{END}"), 2, "is no dump of pg_dump: line 9"),
    ] {
        let error = load(&database.uri(), format!("{table}{blob}{rest}")).unwrap_err();
        says(&error, code, &[words]);
        assert!(load::is_empty(&database.uri()).unwrap(), "{rest}");
    }
    load(&database.uri(), format!("{table}{blob}{END}")).unwrap();
    assert_eq!(database.psql("SELECT a FROM t"), "1\n");
}

#[test]
fn a_hostile_dump_runs_no_program_here() {
    let (database, place) = (postgres().database(), place());
    let mark = place.path.path().join("mark");
    let evil = format!("touch {}", mark.display());
    for text in [
        format!("\\! {evil}\n"),
        format!("SELECT 1 \\g |{evil}\n"),
        format!("\\o |{evil}\nSELECT 1;\n"),
        format!("\\copy t from program '{evil}'\n"),
        format!("\\restrict a\n\\unrestrict a\n\\! {evil}\n"),
        format!("COPY (SELECT 1) TO PROGRAM '{evil}'"),
        // What our reader takes for a text, psql takes for a command; its restricted mode stops it.
        format!(
            "SELECT pg_catalog.set_config('standard_conforming_strings', 'off', false);\nSELECT 'a\\''; \\! {evil} \n --';\n"
        ),
    ] {
        let error = load(&database.uri(), format!("CREATE TABLE public.t (a int);\n{text}{END}")).unwrap_err();
        assert!(matches!(error.exit_code(), 1 | 2), "{text}: {error}");
        assert!(!mark.exists(), "{text}: {error}");
        assert!(load::is_empty(&database.uri()).unwrap(), "{text}");
    }
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
