//! `mirror_compare.py` where something is wrong: it is ERROR and never looks like OK, the counter stays, and whatever a run that
//! is killed leaves, the next one repairs. Real PostgreSQL throughout.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use common::pi_zero::{Site, TABLE};
use common::postgres::{PASSWORD, TRACE, free_port, postgres};
use common::{Run, Tree, assert_unchanged};
use rustix::process::Signal;
use serde_json::{Value, json};

fn site() -> Site {
    let site = Site::databases_only();
    fs::create_dir(site.path("status")).unwrap();
    fs::write(site.path("status/ok_counter"), "7\n").unwrap();
    site
}

fn mirror(site: &Site) -> &common::postgres::Database {
    &site.databases.as_ref().unwrap()[1]
}

fn counter(site: &Site) -> String {
    fs::read_to_string(site.path("status/ok_counter")).unwrap()
}

fn records(site: &Site, log: &str) -> Vec<Value> {
    site.log(log).lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line:?}"))).collect()
}

/// It is ERROR with those words, and the counter and `mirror_diff.log` are as they were.
fn is_error(site: &Site, words: &[&str]) -> Run {
    let run = site.compare().fails(1);
    let line = records(site, "mirror_status.log").pop().unwrap();
    assert_eq!(line["status"], "ERROR", "{run}");
    for count in ["primary_count", "mirror_count", "diff_count"] {
        assert_eq!(line[count], Value::Null);
    }
    assert_eq!(
        (line["ok_streak"].as_u64(), counter(site).as_str(), site.log("mirror_diff.log").as_str()),
        (Some(7), "7\n", "")
    );
    for word in words {
        assert!(line["error"].as_str().unwrap().contains(word) && run.stderr.contains(word), "not {word:?}: {run}");
    }
    assert!(!run.stderr.contains(TRACE) && !site.log("mirror_status.log").contains(TRACE) && !PASSWORD.is_empty());
    run
}

#[test]
fn tables_that_can_not_be_compared() {
    let site = site();
    for (change, undo, words) in [
        (
            "ALTER TABLE part_locations DROP device_id",
            "ALTER TABLE part_locations ADD device_id text DEFAULT 'HANDHELD-01'",
            "column \"device_id\" does not exist",
        ),
        (
            "ALTER TABLE part_locations RENAME TO other",
            "ALTER TABLE other RENAME TO part_locations",
            "relation \"part_locations\" does not exist",
        ),
        (
            "ALTER TABLE part_locations DROP CONSTRAINT part_locations_pkey; INSERT INTO part_locations (order_code, device_id) VALUES ('OC-2', 'twice')",
            "DELETE FROM part_locations WHERE device_id = 'twice'; ALTER TABLE part_locations ADD PRIMARY KEY (order_code)",
            "order_code OC-2 が 2 行あります",
        ),
        (
            "ALTER TABLE part_locations DROP CONSTRAINT part_locations_pkey; ALTER TABLE part_locations ALTER order_code DROP NOT NULL; INSERT INTO part_locations VALUES (NULL)",
            "DELETE FROM part_locations WHERE order_code IS NULL",
            "order_code が NULL",
        ),
        (
            "UPDATE part_locations SET device_id = repeat('x', 1100000) WHERE order_code = 'OC-3'",
            "UPDATE part_locations SET device_id = 'HANDHELD-01'",
            "1 MiB を超える行",
        ),
        (
            "ALTER TABLE part_locations ALTER scanned_at TYPE text USING 'when?'",
            "ALTER TABLE part_locations ALTER scanned_at TYPE timestamptz USING to_timestamp(last_scan_id::int)",
            "invalid input syntax",
        ),
    ] {
        mirror(&site).psql(change);
        let run = is_error(&site, &["mirror", words]);
        assert!(!run.stderr.contains("primary の"), "{run}");
        mirror(&site).psql(undo);
    }
    site.compare().finish().ended(0);
    assert_eq!(counter(&site), "8\n");
}

#[test]
fn another_encoding_is_compared_or_refused_but_never_misread() {
    let site = site();
    let [primary, _] = site.databases.as_ref().unwrap();
    let name = format!("euc_{}", primary.name);
    postgres().psql(
        "postgres",
        &format!("CREATE DATABASE {name} ENCODING 'EUC_JP' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"),
    );
    let fill = |database: &str, keys: &str| {
        postgres().psql(
            database,
            &format!(
                "DROP TABLE IF EXISTS part_locations; {TABLE} INSERT INTO part_locations SELECT unnest(ARRAY[{keys}])"
            ),
        );
    };
    site.configure(|config| config["mirror_db_uri"] = postgres().uri_text(&name).into());
    for database in [&primary.name, &name] {
        fill(database, "'棚-1', '棚-2'");
    }
    site.compare().finish().ended(0);
    fs::write(site.path("status/ok_counter"), "7\n").unwrap();
    // 亜 comes before 一 in EUC-JP, and after it in UTF-8.
    for database in [&primary.name, &name] {
        fill(database, "'亜', '一'");
    }
    is_error(&site, &["mirror の order_code 一 がバイト順ではありません"]);
    postgres().psql("postgres", &format!("DROP DATABASE {name}"));
}

#[test]
fn a_database_that_can_not_be_reached() {
    let site = site();
    for (side, word) in [("primary_db_uri", "primary"), ("mirror_db_uri", "mirror")] {
        for (uri, words) in [
            (format!("postgresql://app:{TRACE}@127.0.0.1:{}/x", free_port()), "Connection refused"),
            (
                format!("postgresql://app:{TRACE}@127.0.0.1:{}/postgres", postgres().port),
                "password authentication failed",
            ),
            (format!("postgresql://app:{TRACE}@nowhere.invalid/x"), "could not translate host name"),
        ] {
            site.configure(|config| config[side] = uri.into());
            let run = is_error(&site, &[&format!("{word} のデータベース"), words]);
            assert!(run.stderr.contains("-> primary_db_uri / mirror_db_uri とネットワークを確認"), "{run}");
        }
    }
    // Whatever is not there, `.local` names included, is asked of the system.
    let hosts = fs::read_to_string("/etc/hosts").unwrap();
    fs::write("/etc/hosts", format!("{hosts}\n127.0.0.1 mirror-db.local\n")).unwrap();
    let uri = postgres().uri_text(&mirror(&site).name).replace("127.0.0.1", "mirror-db.local");
    site.configure(|config| config["mirror_db_uri"] = uri.into());
    site.compare().finish().ended(0);
}

/// Hands one connection on to the database; after so many bytes from there, `end` decides what becomes of it.
fn wire(after: usize, end: impl Fn(&TcpStream) + Send + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let server = TcpStream::connect(("127.0.0.1", postgres().port)).unwrap();
            let (mut from_client, mut to_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            std::thread::spawn(move || std::io::copy(&mut from_client, &mut to_server));
            let (mut left, mut buffer) = (after, [0; 4096]);
            while let Ok(count @ 1..) = (&server).read(&mut buffer) {
                let count = count.min(left);
                if (&client).write_all(&buffer[..count]).is_err() {
                    break;
                }
                left -= count;
                if left == 0 {
                    end(&client);
                    break;
                }
            }
            let _ = client.shutdown(Shutdown::Both);
            let _ = server.shutdown(Shutdown::Both);
        }
    });
    port
}

fn many_rows(site: &Site) {
    for database in site.databases.as_ref().unwrap() {
        database.psql(
            "INSERT INTO part_locations SELECT 'N' || n, 'x', 'y', n, now(), now() FROM generate_series(1, 30000) n",
        );
    }
}

#[test]
fn a_connection_that_is_lost_midway() {
    let site = site();
    many_rows(&site);
    for after in [0, 1_000, 100_000, 1_000_000] {
        for side in ["primary", "mirror"] {
            let port = wire(after.max(1), |_| ());
            site.configure(|config| {
                let uri = config[format!("{side}_db_uri")]
                    .as_str()
                    .unwrap()
                    .replace(&format!(":{}/", postgres().port), &format!(":{port}/"));
                config[format!("{side}_db_uri")] = uri.into();
            });
            is_error(&site, &[&format!("{side} のデータベース"), "server closed the connection"]);
        }
    }
}

#[test]
fn a_statement_that_takes_too_long_midway() {
    let site = site();
    many_rows(&site);
    // The reader is slow, so the time-out comes between two rows.
    let port = wire(500_000, |_| std::thread::sleep(Duration::from_secs(2)));
    site.configure(|config| {
        let uri =
            config["mirror_db_uri"].as_str().unwrap().replace(&format!(":{}/", postgres().port), &format!(":{port}/"));
        config["mirror_db_uri"] = format!("{uri}?options=-cstatement_timeout%3D500").into();
    });
    is_error(&site, &["mirror のデータベース"]);
    // And one that can't even begin: somebody has the table locked.
    site.configure(|config| {
        let uri = config["mirror_db_uri"].as_str().unwrap();
        config["mirror_db_uri"] = format!("{uri}?options=-cstatement_timeout%3D300").into();
    });
    let lock = mirror(&site).lock("part_locations");
    is_error(&site, &["canceling statement due to statement timeout"]);
    drop(lock);
}

#[test]
fn a_host_that_says_nothing_ends_at_the_time_limit() {
    let site = site();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let held: Vec<_> = listener.incoming().take(3).collect();
        std::thread::sleep(Duration::from_secs(60));
        drop(held);
    });
    site.configure(|config| config["mirror_db_uri"] = format!("postgresql://app:{TRACE}@127.0.0.1:{port}/x").into());
    let start = Instant::now();
    is_error(&site, &["timeout expired"]);
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
}

#[test]
fn a_stopped_run_leaves_nothing_behind() {
    let site = site();
    let lock = mirror(&site).lock("part_locations");
    let mut running = site.compare().start();
    running.until("it waits for the table", || mirror(&site).sessions().contains("mirror_compare"));
    running.signal(Signal::TERM);
    let run = running.wait();
    run.ended(1);
    assert!(run.stderr.contains("ended by a signal"), "{run}");
    assert_eq!(records(&site, "mirror_status.log").pop().unwrap()["status"], "ERROR");
    assert_eq!(counter(&site), "7\n");
    drop(lock);
    let start = Instant::now();
    while mirror(&site).sessions().contains("mirror_compare") {
        assert!(start.elapsed() < Duration::from_secs(10), "its session lives on");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(!site.server.path("logs/.mirror_diff.tmp").exists());
}

#[test]
fn strict_and_dry_runs() {
    let site = site();
    let tree = || Tree::at(site.path("")).snapshot() + &site.server.tree().snapshot();
    let before = tree();
    fn dry(site: &Site) -> common::Call<'_> {
        site.compare().flag("--dry-run")
    }
    let status = |run: &Run| serde_json::from_str::<Value>(&run.stdout).unwrap();

    let run = dry(&site).finish();
    run.ended(0);
    assert!(run.stdout.contains("\"status\":\"OK\"") && run.stdout.lines().count() == 1, "{run}");
    assert_eq!(status(&run)["ok_streak"], 8, "what a run would record");
    site.compare().flag("--dry-run").flag("--strict").finish().ended(0);

    mirror(&site).psql("DELETE FROM part_locations WHERE order_code = 'OC-1'");
    let run = dry(&site).fails(2);
    assert_eq!((&status(&run)["status"], &status(&run)["diff_count"]), (&json!("DIFF"), &json!(1)));
    assert!(run.stderr.contains("\"order_code\":\"OC-1\",\"reason\":\"missing_in_mirror\""), "{run}");
    dry(&site).flag("--strict").fails(78);

    mirror(&site).psql("DROP TABLE part_locations");
    assert_eq!(status(&dry(&site).fails(1))["status"], "ERROR");
    dry(&site).flag("--strict").fails(78);
    assert_unchanged(&before, &tree());

    let run = site.compare().flag("--strict").fails(78);
    assert_eq!(run.job["job"], "mirror-compare");
    assert_eq!(counter(&site), "7\n");
    for mode in ["require", "verify-ca", "verify-full"] {
        site.configure(|config| {
            config["mirror_db_uri"] = format!("{}?sslmode={mode}", config["mirror_db_uri"].as_str().unwrap()).into();
        });
        let run = site.compare().fails(78);
        assert!(run.stderr.contains("mirror_db_uri の sslmode=require には対応していません"), "{run}");
    }
}

#[test]
fn an_operator_s_dry_run_needs_no_sudo() {
    use std::os::unix::fs::PermissionsExt;
    let site = site();
    fs::set_permissions(site.path("config.json"), fs::Permissions::from_mode(0o644)).unwrap();
    fs::set_permissions(site.server.path(""), fs::Permissions::from_mode(0o755)).unwrap();
    site.compare().finish().ended(0);
    for words in [&["mirror-compare", "--dry-run"][..], &["mirror", "status"]] {
        let as_nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
        let run = site.call(words).through(&as_nobody).finish();
        run.ended(0);
        assert!(run.stdout.contains('9') || run.stdout.contains("OK カウンタ: 8"), "{run}");
    }
    let run = site
        .call(&["mirror-compare"])
        .through(&["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"])
        .fails(1);
    assert!(run.stderr.contains("run it with sudo"), "{run}");
}

#[test]
fn one_run_at_a_time() {
    let site = site();
    let lock = mirror(&site).lock("part_locations");
    let mut first = site.compare().start();
    first.until("it waits for the table", || mirror(&site).sessions().contains("mirror_compare"));
    let second = site.compare().start();
    std::thread::sleep(Duration::from_millis(500));
    drop(lock);
    first.wait().ended(0);
    second.wait().ended(0);
    assert_eq!(counter(&site), "9\n");
    let streaks: Vec<Value> =
        records(&site, "mirror_status.log").iter().map(|line| line["ok_streak"].clone()).collect();
    assert_eq!(streaks, [8, 9]);
}

#[test]
fn torn_logs_and_a_torn_counter_are_repaired() {
    let site = site();
    fs::write(site.server.path("logs/mirror_status.log"), "{\"timestamp\":\"2026\",\"ok_streak\":7}\n{\"timest")
        .unwrap();
    fs::write(
        site.server.path("logs/mirror_diff.log"),
        "{\"timestamp\":\"2026\",\"diff\":[{\"order_code\":\"a\",\"dif",
    )
    .unwrap();
    fs::write(site.path("status/ok_counter"), "").unwrap();
    mirror(&site).psql("DELETE FROM part_locations WHERE order_code = 'OC-1'");
    site.compare().fails(2);
    assert_eq!((records(&site, "mirror_status.log").len(), records(&site, "mirror_diff.log").len()), (2, 1));
    assert_eq!(counter(&site), "0\n");
}

#[test]
fn differences_that_cannot_be_recorded_are_told_with_the_reason() {
    let site = site();
    fs::create_dir(site.server.path("logs/mirror_diff.log")).unwrap();
    mirror(&site).psql("DELETE FROM part_locations WHERE order_code = 'OC-1'");
    let run = site.compare().fails(2);
    assert!(run.stderr.contains("差分 1 件"), "{run}");
    assert!(run.stderr.contains("mirror_diff.log: Is a directory"), "{run}");
    assert!(!run.stderr.contains("差分を確認する"), "nothing sends anybody to a log without the differences: {run}");
    let lines = records(&site, "mirror_status.log");
    assert_eq!((lines.len(), lines[0]["status"].as_str()), (1, Some("DIFF")));
    assert_eq!(counter(&site), "0\n");
}

/// Kills a run at each of its calls that change something, in turn. Every line of the logs stays whole but for the last, the
/// counter is one of the two, and the next run makes all of it right.
fn killed_everywhere(equal: bool) {
    const CALLS: [&str; 12] = [
        "openat",
        "write",
        "pwrite64",
        "copy_file_range",
        "sendfile",
        "fsync",
        "fdatasync",
        "rename",
        "renameat",
        "unlinkat",
        "ftruncate",
        "flock",
    ];
    let site = site();
    if !equal {
        mirror(&site).psql("UPDATE part_locations SET location_code = 'other'");
    }
    let mut kills = 0;
    // strace counts each call by itself.
    for call in CALLS {
        kills += (1..).take_while(|number| killed_at(&site, equal, call, *number)).count();
    }
    assert!(kills > 30, "it was killed {kills} times only");
}

/// Kills a run as it enters its n-th such call, and looks at what is left and at the next run. `false`: it came to its end.
fn killed_at(site: &Site, equal: bool, call: &str, number: usize) -> bool {
    for log in ["mirror_status.log", "mirror_diff.log"] {
        fs::write(site.server.path("logs").join(log), "{\"timestamp\":\"before\"}\n").unwrap();
    }
    fs::write(site.path("status/ok_counter"), "7\n").unwrap();
    let (trace, inject) = (format!("trace={call}"), format!("inject={call}:signal=SIGKILL:when={number}"));
    let strace = ["strace", "-qq", "-o", "/dev/null", "-e", &trace, "-e", &inject];
    let run = site.compare().through(&strace).start().wait();
    let at = counter(site);
    let what = format!("{call} {number}: {run}");
    let (new, code) = if equal { ("8\n", 0) } else { ("0\n", 2) };
    assert!(at == "7\n" || at == new, "{at:?} {what}");
    let whole = |log: &str| {
        let text = site.log(log);
        let (whole, _torn) = text.rsplit_once('\n').unwrap();
        whole.lines().inspect(|line| assert!(serde_json::from_str::<Value>(line).is_ok(), "{line}")).count()
    };
    let (recorded, told) = (whole("mirror_status.log") == 2, whole("mirror_diff.log") == 2);
    if equal {
        assert!(at == "7\n" || recorded, "the counter went up and no line says so: {what}");
    } else {
        assert!(at == new || !(recorded || told), "a DIFF is told and the counter stands: {what}");
    }
    site.compare().finish().ended(code);
    assert_eq!(records(site, "mirror_status.log").len(), 2 + usize::from(recorded), "{what}");
    assert_eq!(records(site, "mirror_diff.log").len(), if equal { 1 } else { 2 + usize::from(told) }, "{what}");
    assert_eq!(counter(site), if equal && at == new { "9\n" } else { new }, "{what}");
    run.code.is_none_or(|code| code > 128)
}

#[test]
fn killed_at_every_call_of_a_run_without_differences() {
    killed_everywhere(true);
}

#[test]
fn killed_at_every_call_of_a_run_with_differences() {
    killed_everywhere(false);
}
