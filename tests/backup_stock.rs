//! What is on a BACKUP stick comes back with nothing of ours: stock `tar` and stock `psql` on any PC (SPEC 7).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod common;

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use common::factory::{CONTENT, schema};
use common::postgres::{Database, postgres};
use common::site::{Site, archives, backup_stick, done, shell};
use common::{Server, ago, assert_unchanged, sample};

/// One line for each table: its name, its rows, and a digest that depends on every value of every row.
const TABLES: &str = r"
SELECT format('SELECT %L, count(*), md5(string_agg(d, '''' ORDER BY d)) FROM (SELECT md5(t::text) d FROM ONLY %I.%I t) x',
  c.oid::regclass, n.nspname, c.relname)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' ORDER BY n.nspname, c.relname \gexec
";
const SEQUENCES: &str = r"
SELECT format('SELECT %L, last_value, is_called FROM %I.%I', c.oid::regclass, n.nspname, c.relname)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'S' ORDER BY n.nspname, c.relname \gexec
";
const LARGE_OBJECTS: &str = "SELECT oid, length(lo_get(oid)), md5(lo_get(oid)) FROM pg_largeobject_metadata ORDER BY 1";

/// A database with so many rows goes to a stick and comes back through stock tools into an empty one.
fn comes_back(rows: u32) {
    let start = Instant::now();
    let mut last = start;
    let mut seconds = || std::mem::replace(&mut last, Instant::now()).elapsed().as_secs_f64();
    let site = Site { stick: backup_stick(256), ..Site::without_tables(Server::new()) };
    sample(&site.server.tree(), ago(3600));
    site.database.psql(&schema(rows));
    let filled = seconds();
    site.snapshot();
    let taken = seconds();
    done(site.backup(), "backup export completed archive=");
    let backed_up = seconds();

    let pc = tempfile::tempdir().unwrap();
    let size = site.stick.read(|root| {
        let archive = root.path(archives(root).pop().unwrap());
        shell(pc.path(), &format!("tar --zstd -xf {}", archive.display()));
        archive.metadata().unwrap().len()
    });
    let unpacked = pc.path().join(site.latest().path("").file_name().unwrap());
    let empty = postgres().database();
    psql(&empty, &unpacked);
    let loaded = seconds();
    let dumped = unpacked.join("db/pg_dump.sql").metadata().unwrap().len();
    println!(
        "{rows} rows, a dump of {dumped} bytes, an archive of {size}: filled {filled:.1} s, snapshot {taken:.1} s, \
         backup {backed_up:.1} s, tar and psql {loaded:.1} s"
    );

    let tables = site.database.psql(TABLES);
    assert_eq!(tables.lines().count(), 6, "{tables}");
    assert!(tables.contains(&format!("part_locations|{rows}|")), "{tables}");
    for question in [TABLES, SEQUENCES, LARGE_OBJECTS, CONTENT] {
        assert_unchanged(&site.database.psql(question), &empty.psql(question));
    }
    assert_eq!(site.database.psql(LARGE_OBJECTS).lines().count(), 2);
    assert_eq!(site.database.psql(SEQUENCES).lines().count(), 2);
    // Whatever else a database has: it dumps to the same bytes.
    assert!(dump(&site.database) == dump(&empty), "the dumps differ");
    println!("compared in {:.1} s", seconds());
}

/// What anybody does with a dump.
fn psql(database: &Database, unpacked: &Path) {
    let mut command = Command::new("psql");
    command.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", "db/pg_dump.sql"]).current_dir(unpacked);
    let output = command.envs(database.uri().environment()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}");
}

/// A dump as stock `pg_dump` makes it, without the key that each has of its own.
fn dump(database: &Database) -> String {
    let output = Command::new("pg_dump").envs(database.uri().environment()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let own = |line: &&str| line.starts_with("\\restrict") || line.starts_with("\\unrestrict");
    text.split_inclusive('\n').filter(|line| !own(line)).collect()
}

#[test]
fn tar_and_psql_bring_back_every_table() {
    comes_back(1_000_000);
}
