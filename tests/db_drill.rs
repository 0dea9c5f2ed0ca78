//! `toolmaster restore-drill` with a real PostgreSQL server: it proves the newest dump, and leaves no database behind.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::sync::Mutex;

use common::postgres::{Database, TRACE, postgres};
use common::{Call, Run, Server};
use rustix::process::Signal;
use toolmaster::database::counts::count;
use toolmaster::database::dump::{Options, dump};
use toolmaster::os::dir::Dir;
use toolmaster::tree::manifest::counts::Counts;

/// All drills of this file use one server, and a drill removes what others left: one at a time.
static ONE: Mutex<()> = Mutex::new(());

const END: &str = "--\n-- PostgreSQL database dump complete\n--\n\n";

struct Site {
    live: Database,
    server: Server,
    before: Counts,
}

impl Site {
    /// A live database with a table, and a snapshot of it.
    fn new() -> Site {
        let (live, server) = (postgres().database(), Server::new());
        live.psql("CREATE TABLE t (a int); INSERT INTO t VALUES (1), (2); SELECT lo_create(7);");
        let snapshots = server.tree().sub("snapshots");
        snapshots.dir("2026-01-31_023000/db").link("latest", "2026-01-31_023000");
        let dir = Dir::open(&snapshots.path("2026-01-31_023000/db")).unwrap();
        dump(&live.uri(), &Options::default(), &dir).unwrap();
        let before = count(&live.uri()).unwrap();
        Site { live, server, before }
    }

    fn write_dump(&self, text: &str) {
        self.server.tree().file("snapshots/latest/db/pg_dump.sql", text, common::ago(60));
    }

    fn call(&self) -> Call<'_> {
        self.server.call(&["restore-drill"]).var("PG_URI", postgres().uri_text(&self.live.name))
    }

    /// What holds after every drill.
    fn check(&self, run: &Run) {
        assert_eq!(postgres().left(), "", "{run}");
        assert_eq!(count(&self.live.uri()).unwrap(), self.before, "the live database was touched");
        let all = format!("{run}{}", self.snapshot_log());
        assert!(!all.contains(TRACE), "{all}");
    }

    fn snapshot_log(&self) -> String {
        self.server.tree().text("logs/snapshot.log")
    }

    fn fails(&self, code: i32, words: &str) {
        let run = self.call().fails(code);
        assert!(run.stderr.contains(words), "{words}: {run}");
        assert_eq!(run.job["job"], "restore-drill");
        assert_eq!(run.job["result"], if code == 3 { "nothing" } else { "failed" });
        assert!(!self.server.tree().has("logs/usb_guard.log"));
        self.check(&run);
    }
}

#[test]
fn a_good_snapshot_is_proven() {
    let _one = ONE.lock();
    let site = Site::new();
    let run = site.call().finish();
    run.ended(0);
    site.check(&run);
    assert!(site.snapshot_log().contains("restore drill completed dump="), "{}", site.snapshot_log());
    assert_eq!((&run.job["job"], &run.job["result"]), (&"restore-drill".into(), &"done".into()));
    let db = &run.job["datasets"]["db"];
    assert_eq!((db["tables"].as_u64(), db["rows"].as_u64(), db["large_objects"].as_u64()), (Some(1), Some(2), Some(1)));
}

/// A run that was cut off before it could set `latest`, and a clock that went back: the number tells which is newest.
#[test]
fn the_newest_is_the_one_with_the_highest_number_wherever_the_link_points() {
    let _one = ONE.lock();
    let site = Site::new();
    let uri = postgres().uri_text(&site.live.name);
    site.server.master().file("a.csv", "a", common::ago(60));
    site.server.docviewer().file("a.pdf", "a", common::ago(60));
    let take = |clock: &str| {
        site.server.call(&["snapshot"]).var("PG_URI", &uri).clock(clock).finish().ended(0);
        std::fs::read_link(site.server.path("snapshots/latest")).unwrap().to_str().unwrap().to_owned()
    };
    let (first, second) = (take("-10d"), take("-20d"));
    assert!(second < first, "named by a clock that went back");
    site.server.tree().remove("snapshots/latest").link("snapshots/latest", &first);
    let run = site.call().finish();
    run.ended(0);
    assert!(run.stderr.contains(&format!("{second}/db/pg_dump.sql")) && !run.stderr.contains(&first), "{run}");
}

#[test]
fn a_file_of_the_newest_snapshot_that_rots_is_found() {
    let _one = ONE.lock();
    let site = Site::new();
    let uri = postgres().uri_text(&site.live.name);
    site.server.master().file("a.csv", "a", common::ago(60));
    site.server.docviewer().file("a.pdf", "a", common::ago(60));
    site.server.call(&["snapshot"]).var("PG_URI", &uri).finish().ended(0);
    let run = site.call().finish();
    run.ended(0);
    assert!(run.stderr.contains(" files=") && !run.stderr.contains(" files=0 "), "{run}");
    site.server.tree().file("snapshots/latest/master/a.csv", "b", common::ago(60));
    site.fails(1, ": the snapshot is not whole");
    // The next snapshot does not share it on.
    site.server.call(&["snapshot"]).var("PG_URI", &uri).finish().ended(0);
    assert_eq!(site.server.tree().text("snapshots/latest/master/a.csv"), "a");
    site.call().finish().ended(0);
}

#[test]
fn what_can_t_be_restored_is_a_failure() {
    let _one = ONE.lock();
    let site = Site::new();
    site.write_dump("CREATE TABLE public.t (a int);\n");
    site.fails(1, "is not whole");
    site.write_dump(&format!("CREATE TABLE public.t (a int);\nSELECT 1/0;\n{END}"));
    site.fails(1, "division by zero");
    // A trigger takes a row away: the load succeeds and the numbers differ.
    let header = |kind: &str| format!("--\n-- {kind}; Schema: public; Owner: -\n--\n\n");
    site.write_dump(&format!(
        "{}CREATE TABLE public.t (a int);\nCREATE FUNCTION public.f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;\n\
        CREATE TRIGGER g BEFORE INSERT ON public.t FOR EACH ROW EXECUTE FUNCTION public.f();\n\
        {}COPY public.t (a) FROM stdin;\n1\n\\.\n{END}",
        header("Name: t; Type: TABLE"),
        header("Data for Name: t; Type: TABLE DATA"),
    ));
    site.fails(1, "public.t has 0 rows, the dump 1");
    site.server.tree().remove("snapshots/2026-01-31_023000/db");
    site.fails(1, "there is no db/pg_dump.sql in the newest snapshot");
    site.server.tree().remove("snapshots/2026-01-31_023000");
    site.fails(3, "there is no complete snapshot");
}

#[test]
fn a_signal_ends_it_and_no_database_stays() {
    let _one = ONE.lock();
    let site = Site::new();
    site.write_dump(&format!("CREATE TABLE public.t (a int);\nSELECT pg_catalog.pg_sleep(60);\n{END}"));
    let sleeping =
        || postgres().psql("postgres", "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(60)%'");
    let mut running = site.call().start();
    running.until("it loads", || sleeping().trim() != "1" && !postgres().scratch_databases().is_empty());
    running.signal(Signal::TERM);
    let run = running.wait();
    run.ended(1);
    site.check(&run);

    // What a kill leaves, the next one removes.
    let mut running = site.call().start();
    running.until("it loads", || sleeping().trim() != "1" && !postgres().scratch_databases().is_empty());
    running.signal(Signal::KILL);
    running.reap();
    assert_ne!(postgres().scratch_databases(), "");
    site.write_dump(&format!("SELECT 1;\n{END}"));
    let run = site.call().finish();
    run.ended(0);
    assert!(run.stderr.contains("that an earlier run left"), "{run}");
    site.check(&run);
}
