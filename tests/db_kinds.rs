//! What databases hold besides tables of rows: each kind is in a snapshot, and comes back as it was, loaded by a role without rights.
//! Before the snapshot and after the restore stock `pg_dump` must say the same.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::sync::{Mutex, MutexGuard};

use common::postgres::{Database, TRACE, postgres};
use common::site::{Site, shell};
use common::{Run, Server};

/// One server keeps all loads apart; a second one at a time is told to wait.
static ONE: Mutex<()> = Mutex::new(());

/// A server and its database with that in it.
fn site(sql: &str) -> (Site, MutexGuard<'static, ()>) {
    let one = ONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let site = Site::without_tables(Server::new());
    common::sample(&site.server.tree(), common::ago(3600));
    site.database.psql(sql);
    (site, one)
}

/// Restores the newest snapshot beside its files into a new database.
fn restore(site: &Site) -> (Database, Run) {
    let target = postgres().database();
    let run = restore_into(site, &target);
    (target, run)
}

fn restore_into(site: &Site, target: &Database) -> Run {
    let dest = tempfile::tempdir().unwrap();
    let latest = site.latest();
    let words = ["restore", "--snapshot", latest.path("").to_str().unwrap(), "--dest", dest.path().to_str().unwrap()]
        .map(str::to_owned);
    let words = words.into_iter().chain(["--pg-uri".to_owned(), postgres().uri_text(&target.name)]).collect::<Vec<_>>();
    let run = site.call(&words.iter().map(String::as_str).collect::<Vec<_>>()).finish();
    assert_eq!(postgres().left(), "", "{run}");
    assert!(!run.stderr.contains(TRACE), "{run}");
    run
}

/// A snapshot, a drill and a restore; what the restore said.
fn comes_back(site: &Site) -> (Database, Run) {
    site.snapshot();
    let drill = site.call(&["restore-drill"]).finish();
    drill.ended(0);
    assert_eq!(postgres().left(), "", "{drill}");
    let (target, run) = restore(site);
    run.ended(0);
    (target, run)
}

fn comes_back_equal(sql: &str) {
    let (site, _one) = site(sql);
    let before = site.database.dump();
    let (target, _) = comes_back(&site);
    common::assert_unchanged(&before, &target.dump());
    assert_eq!(owners(&target), "app\n");
}

/// To whom all that was loaded belongs.
fn owners(database: &Database) -> String {
    database.psql(
        "SELECT DISTINCT pg_get_userbyid(o) FROM (SELECT relowner AS o FROM pg_class WHERE oid >= 16384 UNION SELECT proowner FROM pg_proc \
        WHERE oid >= 16384 UNION SELECT typowner FROM pg_type WHERE oid >= 16384 UNION SELECT nspowner FROM pg_namespace \
        WHERE oid >= 16384 UNION SELECT lomowner FROM pg_largeobject_metadata UNION SELECT datdba FROM pg_database \
        WHERE datname = current_database()) x",
    )
}

#[test]
fn names_that_are_words_of_the_language_and_odd_ones() {
    comes_back_equal(
        "CREATE TABLE t (begin int, \"end\" int, \"commit\" text); INSERT INTO t VALUES (1, 2, 'x');\n\
        CREATE FUNCTION f(i int) RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT i; SELECT CASE WHEN true THEN 2 END; END;\n\
        CREATE TABLE \"a; Type: TABLE; \"\"品番\"\" \" (\"棚\nの\" text); INSERT INTO \"a; Type: TABLE; \"\"品番\"\" \" VALUES (E'--\\n-- x');\n\
        CREATE TABLE nothing (); INSERT INTO nothing DEFAULT VALUES; INSERT INTO nothing DEFAULT VALUES;\n\
        CREATE TABLE notes (line text); INSERT INTO notes VALUES ('--'), ('-- Name: e; Type: EVENT TRIGGER; Schema: -; Owner: -'), \
        ('CREATE EVENT TRIGGER e'), ('\\restrict x'), ('\\.'), ('-- PostgreSQL database dump complete');",
    );
}

#[test]
fn extensions_in_schemas_of_their_own_and_foreign_servers() {
    comes_back_equal(
        "CREATE SCHEMA ext; CREATE EXTENSION hstore SCHEMA ext; CREATE EXTENSION citext; CREATE EXTENSION pgcrypto;\n\
        CREATE EXTENSION cube; CREATE EXTENSION earthdistance; CREATE EXTENSION pg_stat_statements;\n\
        CREATE TABLE t (a citext PRIMARY KEY, h ext.hstore); INSERT INTO t VALUES ('x', 'a=>1');\n\
        CREATE EXTENSION postgres_fdw; CREATE SERVER s FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host 'x');\n\
        CREATE FOREIGN TABLE ft (i int) SERVER s; CREATE USER MAPPING FOR app SERVER s OPTIONS (user 'u');",
    );
}

/// Whoever finds a stick finds no other server's password on it. All else of the mapping comes back.
#[test]
fn a_user_mapping_comes_back_without_its_password() {
    let mapping = |password: &str| {
        format!(
            "CREATE TABLE t (a int); INSERT INTO t VALUES (1); CREATE EXTENSION postgres_fdw; CREATE SERVER s FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host 'x');\n\
            CREATE USER MAPPING FOR app SERVER s OPTIONS (user 'u', password '{password}', password_required 'true');"
        )
    };
    let (site, _one) = site(&mapping("hunter2"));
    let expected = postgres().database();
    expected.psql(&mapping(""));
    let (target, run) = comes_back(&site);
    common::assert_unchanged(&expected.dump(), &target.dump());
    assert!(run.stderr.contains("the password of USER MAPPING app SERVER s"), "{run}");
    let files = site.latest().path("");
    assert_eq!(shell(&files, "grep -rl hunter2 . || true"), "");
}

/// Bytes that are no text in any encoding: such a database is old, and holds what its programs wrote.
#[test]
fn a_database_without_an_encoding() {
    let (site, _one) = site("");
    let name = &site.database.name;
    let bare = "ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0";
    postgres().psql("postgres", &format!("DROP DATABASE {name}"));
    postgres().psql("postgres", &format!("CREATE DATABASE {name} {bare}"));
    site.database.psql("CREATE TABLE tools (name text); SET client_encoding = 'SQL_ASCII'; INSERT INTO tools VALUES (E'\\xff\\x83\\x5c'), (E'\\xe5\\x88\\x83')");
    site.snapshot();
    let target = postgres().database();
    postgres().psql("postgres", &format!("DROP DATABASE {}", target.name));
    postgres().psql("postgres", &format!("CREATE DATABASE {} {bare}", target.name));
    restore_into(&site, &target).ended(0);
    let bytes = "SELECT encode(convert_to(name, 'SQL_ASCII'), 'hex') FROM tools ORDER BY 1";
    assert_eq!(target.psql(bytes), site.database.psql(bytes));
    let drill = site.call(&["restore-drill"]).finish();
    drill.ended(0);
}

#[test]
fn policies_for_roles_and_row_security() {
    comes_back_equal(
        "CREATE ROLE kinds_viewer; CREATE TABLE t (i int, o text); INSERT INTO t VALUES (1, 'a'), (2, 'b');\n\
        ALTER TABLE t ENABLE ROW LEVEL SECURITY; ALTER TABLE t FORCE ROW LEVEL SECURITY;\n\
        CREATE POLICY p ON t FOR SELECT TO kinds_viewer USING (o = current_user); GRANT SELECT ON t TO kinds_viewer;",
    );
    postgres().psql("postgres", "DROP ROLE kinds_viewer");
}

#[test]
fn roles_that_are_not_here_are_made_without_rights() {
    let (site, _one) = site(
        "CREATE ROLE kinds_gone SUPERUSER LOGIN PASSWORD 's3cret'; CREATE TABLE t (i int); ALTER TABLE t ENABLE ROW LEVEL SECURITY;\n\
        CREATE POLICY p ON t TO kinds_gone USING (true);",
    );
    site.snapshot();
    let globals = site.latest().text("db/globals.sql");
    assert!(globals.contains("CREATE ROLE kinds_gone;") && !globals.contains("SCRAM"), "{globals}");
    let before = site.database.dump();
    site.database.psql("DROP POLICY p ON t; DROP ROLE kinds_gone");
    // The drill makes it for as long as it lasts.
    site.call(&["restore-drill"]).finish().ended(0);
    let rights =
        || postgres().psql("postgres", "SELECT rolsuper, rolcanlogin FROM pg_roles WHERE rolname = 'kinds_gone'");
    assert_eq!(rights(), "");
    let (target, run) = restore(&site);
    run.ended(0);
    assert!(run.stderr.contains("made without any right: kinds_gone"), "{run}");
    common::assert_unchanged(&before, &target.dump());
    assert_eq!(rights(), "f|f\n");
    target.psql("DROP POLICY p ON t; DROP ROLE kinds_gone");
}

#[test]
fn partitions_types_rules_triggers_and_all_the_rest() {
    comes_back_equal(
        "CREATE TABLE p (i int, k text, PRIMARY KEY (i, k)) PARTITION BY LIST (k); CREATE TABLE p1 PARTITION OF p FOR VALUES IN ('a');\n\
        CREATE TABLE p2 PARTITION OF p DEFAULT; INSERT INTO p VALUES (1, 'a'), (2, 'b');\n\
        CREATE TYPE mood AS ENUM ('良', '悪'); CREATE DOMAIN posint AS int CHECK (VALUE > 0); CREATE TYPE pair AS (a int, b mood);\n\
        CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY, s serial, m mood, d posint, p pair, g int GENERATED ALWAYS AS (1 + 1) STORED);\n\
        INSERT INTO t (m, d, p) VALUES ('良', 1, (1, '悪')); CREATE SEQUENCE free START 5; CREATE UNLOGGED TABLE u (a text); INSERT INTO u VALUES ('x');\n\
        CREATE FUNCTION even(int) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT $1 % 2 = 0';\n\
        CREATE TABLE checked (i int CHECK (public.even(i))); INSERT INTO checked VALUES (2), (4); CREATE INDEX ON checked (i) WHERE even(i);\n\
        CREATE MATERIALIZED VIEW mv AS SELECT * FROM p; CREATE VIEW v AS SELECT * FROM mv;\n\
        CREATE RULE nothing AS ON INSERT TO u DO INSTEAD NOTHING; CREATE STATISTICS st ON i, k FROM p;\n\
        CREATE FUNCTION tr() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;\n\
        CREATE TRIGGER swallow BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION tr();\n\
        CREATE AGGREGATE total (int) (SFUNC = int4pl, STYPE = int, INITCOND = '0'); CREATE PUBLICATION one FOR TABLE t;\n\
        CREATE COLLATION german (LOCALE = 'C'); CREATE OPERATOR === (LEFTARG = int, RIGHTARG = int, FUNCTION = int4eq);\n\
        CREATE TEXT SEARCH CONFIGURATION plain (COPY = simple); COMMENT ON TABLE t IS 'a; ''b''\n--\nc'; SELECT lo_from_bytea(5, 'x');\n\
        CREATE PROCEDURE pr() LANGUAGE plpgsql AS $$ BEGIN COMMIT; END $$; CREATE TABLE kid (extra int) INHERITS (u);",
    );
}

#[test]
fn time_limits_of_roles_and_databases_are_not_ours() {
    let (site, _one) = site("CREATE TABLE t AS SELECT i, md5(i::text) AS m FROM generate_series(1, 200000) i;");
    let (target, name) = (postgres().database(), &site.database.name);
    postgres().psql(
        "postgres",
        &format!("ALTER DATABASE {name} SET statement_timeout = '40ms'; ALTER DATABASE {name} SET default_transaction_read_only = on; \
        ALTER DATABASE {name} SET search_path = nowhere; ALTER ROLE app SET statement_timeout = '40ms'; ALTER ROLE app SET row_security = on;"),
    );
    let drill = || {
        site.snapshot();
        site.call(&["restore-drill"]).finish().ended(0);
        restore_into(&site, &target)
    };
    let run = std::panic::catch_unwind(std::panic::AssertUnwindSafe(drill));
    postgres().psql("postgres", "SET statement_timeout = 0; ALTER ROLE app RESET ALL");
    run.unwrap().ended(0);
}

#[test]
fn what_is_set_and_granted_for_the_empty_database_stays() {
    let (site, _one) = site("CREATE TABLE t (i int)");
    site.snapshot();
    let target = postgres().database();
    let name = &target.name;
    target.psql(&format!(
        "ALTER DATABASE {name} SET timezone = 'Asia/Tokyo'; ALTER DATABASE {name} SET search_path = \"$user\", public, \"x y\"; \
        ALTER ROLE app IN DATABASE {name} SET work_mem = '5MB'; REVOKE CONNECT ON DATABASE {name} FROM PUBLIC; ALTER DATABASE {name} CONNECTION LIMIT 7;"
    ));
    let state = || {
        target.psql("SELECT setrole::regrole, setconfig FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase WHERE datname = current_database() ORDER BY 1;\
            SELECT (SELECT array_agg(a ORDER BY a) FROM unnest(datacl::text[]) a), datconnlimit, pg_get_userbyid(datdba) FROM pg_database WHERE datname = current_database()")
    };
    let before = state();
    let dest = tempfile::tempdir().unwrap();
    // An application that is connected already is sent away.
    let session = target.session();
    let latest = site.latest().path("");
    let uri = postgres().uri_text(name);
    let words =
        ["restore", "--snapshot", latest.to_str().unwrap(), "--dest", dest.path().to_str().unwrap(), "--pg-uri", &uri];
    site.call(&words).finish().ended(0);
    drop(session);
    assert_eq!(target.psql("SELECT count(*) FROM public.t"), "0\n");
    common::assert_unchanged(&before, &state());
}

#[test]
fn what_was_set_for_the_database_and_for_roles_comes_back() {
    let (site, _one) = site(
        "CREATE TABLE t (i int); CREATE ROLE kinds_set; ALTER ROLE kinds_set SET work_mem = '7MB';\n\
        SELECT format('ALTER DATABASE %I SET %s', current_database(), x) FROM unnest(ARRAY['timezone = ''Asia/Tokyo''', \
        'search_path = \"$user\", public, \"x y\"', 'factory.line = ''it''''s 3''', 'log_min_duration_statement = 5000']) x \\gexec\n\
        SELECT format('ALTER ROLE kinds_set IN DATABASE %I SET lock_timeout = ''9s''', current_database()) \\gexec\n",
    );
    let state = |database: &Database| {
        database.psql(
            "SET search_path = pg_catalog; SELECT setrole::regrole, c FROM pg_db_role_setting s LEFT JOIN pg_database d ON d.oid = s.setdatabase, \
            unnest(setconfig) c WHERE (datname = current_database() OR setrole = 'kinds_set'::regrole) AND c NOT LIKE 'log_%' ORDER BY 1, 2",
        )
    };
    let forget = |database: &Database| {
        let role = format!("ALTER ROLE kinds_set IN DATABASE {} RESET ALL; DROP ROLE kinds_set", database.name);
        postgres().psql("postgres", &role);
    };
    site.snapshot();
    let before = state(&site.database);
    assert!(before.contains("x y") && before.contains("it's 3") && before.contains("7MB"), "{before}");
    forget(&site.database);
    let (target, run) = restore(&site);
    run.ended(0);
    common::assert_unchanged(&before, &state(&target));
    let words = "set it by hand if it is still wanted: database: log_min_duration_statement = 5000";
    assert!(run.stderr.contains(words), "{run}");
    forget(&target);
}

#[test]
fn a_restore_that_is_killed_is_done_again_and_two_do_not_meet() {
    let (site, _one) = site("CREATE TABLE t (i int)");
    let (target, place) = (postgres().database(), tempfile::tempdir().unwrap());
    // As the original system wrote them: without a manifest.
    let archive = place.path().join("2020-01-01_000000_full.tar.zst");
    let write = |rest: &str| {
        let old = common::Tree::at(place.path().join("2020-01-01_000000"));
        old.file("master/a.csv", "a", common::ago(60));
        old.file("db/pg_dump.sql", format!("{rest}--\n-- PostgreSQL database dump complete\n--\n\n"), common::ago(60));
        shell(place.path(), "tar --zstd -cf 2020-01-01_000000_full.tar.zst 2020-01-01_000000");
    };
    write("SELECT pg_catalog.pg_sleep(600);\n");
    let uri = postgres().uri_text(&target.name);
    let dests = ["one", "two"].map(|name| place.path().join(name));
    let words = dests.each_ref().map(|dest| {
        ["restore", "--archive", archive.to_str().unwrap(), "--dest", dest.to_str().unwrap(), "--pg-uri", &uri]
    });
    let mut first = site.call(&words[0]).start();
    let sleeping = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
    first.until("it loads", || postgres().psql("postgres", sleeping) != "0\n");
    let second = site.call(&words[1]).fails(75);
    assert!(second.stderr.contains("another restore or drill loads a dump"), "{second}");
    first.signal(rustix::process::Signal::KILL);
    first.reap();
    assert_ne!(postgres().left(), "");
    write("--\n-- Name: t; Type: TABLE; Schema: public; Owner: -\n--\n\nCREATE TABLE public.t (i integer);\n");
    let run = site.call(&words[0]).finish();
    run.ended(0);
    assert!(run.stderr.contains("that an earlier run left"), "{run}");
    assert_eq!((postgres().left(), target.psql("SELECT count(*) FROM t")), (String::new(), "0\n".to_owned()));
}

#[test]
fn what_only_a_superuser_may_make_is_left_out_and_named() {
    let (site, _one) = site(
        "CREATE TABLE t (i int); INSERT INTO t VALUES (1); CREATE PUBLICATION everything FOR ALL TABLES;\n\
        SET client_min_messages = error; CREATE SUBSCRIPTION sub CONNECTION 'host=127.0.0.1 port=1 dbname=x password=hidden' \
        PUBLICATION p WITH (connect = false, slot_name = NONE, enabled = false);\n\
        CREATE FUNCTION no() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no changes here'; END $$;\n\
        CREATE EVENT TRIGGER guard ON ddl_command_start EXECUTE FUNCTION no();",
    );
    let (target, run) = comes_back(&site);
    assert!(!site.latest().text("db/pg_dump.sql").contains("hidden"));
    for name in ["subscription sub", "event trigger guard", "publication everything"] {
        assert!(run.stderr.contains(name), "{name}: {run}");
    }
    assert_eq!(target.psql("SELECT i FROM t; SELECT count(*) FROM pg_event_trigger"), "1\n0\n");
    site.database.psql("DROP EVENT TRIGGER guard; DROP SUBSCRIPTION sub");
}

/// What waits for the count must not have `pg_dump` wait behind it, or all three wait for ever, and the site's programs too.
#[test]
fn tables_that_are_emptied_all_the_time_stop_nobody() {
    let (site, _one) =
        site("CREATE TABLE t (i int); CREATE TABLE u (i int); INSERT INTO u SELECT generate_series(1, 100)");
    std::thread::scope(|scope| {
        let emptying = scope.spawn(|| site.database.psql(&"TRUNCATE t; INSERT INTO t VALUES (1);\n".repeat(1500)));
        let run = site.call(&["snapshot"]).finish();
        assert!(matches!(run.code, Some(0 | 75)), "{run}");
        emptying.join().unwrap();
    });
    let (target, _) = comes_back(&site);
    assert_eq!(target.psql("SELECT count(*) FROM t; SELECT count(*) FROM u"), "1\n100\n");
}

/// A value of an enum gets another number in each database, and with it another partition.
#[test]
fn rows_that_a_restore_puts_into_other_partitions() {
    let (site, _one) = site(
        "CREATE TYPE colour AS ENUM ('red', 'green', 'blue', 'white', 'black', 'grey', 'pink', 'gold');\n\
        CREATE TABLE part (c colour, t text) PARTITION BY HASH (c);\n\
        SELECT format('CREATE TABLE part%s PARTITION OF part FOR VALUES WITH (MODULUS 4, REMAINDER %s)', i, i) FROM generate_series(0, 3) i \\gexec\n\
        INSERT INTO part SELECT c, repeat('x', i) FROM unnest(enum_range(NULL::colour)) c, generate_series(1, 5) i;",
    );
    let (target, run) = comes_back(&site);
    assert!(run.stderr.contains("rows of partitioned tables are in other partitions than before"), "{run}");
    let rows = "SELECT c, t FROM part ORDER BY 1, 2";
    assert_eq!(target.psql(rows), site.database.psql(rows));
}

/// What has tables of its own that belong to the dump (`pg_extension_config_dump`).
#[test]
#[ignore = "needs large packages: scripts/test --full"]
fn postgis_and_pg_partman() {
    comes_back_equal(
        "CREATE EXTENSION postgis; CREATE SCHEMA partman; CREATE EXTENSION pg_partman SCHEMA partman;\n\
        INSERT INTO spatial_ref_sys VALUES (990001, 'factory', 1, 'LOCAL_CS[\"hall 1\"]', '+proj=longlat');\n\
        CREATE TABLE place (id int PRIMARY KEY, at geometry(Point, 990001)); CREATE INDEX ON place USING gist (at);\n\
        INSERT INTO place SELECT i, ST_SetSRID(ST_MakePoint(i, i * 2), 990001) FROM generate_series(1, 1000) i;\n\
        CREATE VIEW near AS SELECT id FROM place WHERE ST_DWithin(at, ST_SetSRID(ST_MakePoint(1, 2), 990001), 9);\n\
        CREATE TABLE visit (day timestamptz NOT NULL, what text) PARTITION BY RANGE (day);\n\
        SELECT partman.create_parent('public.visit', 'day', 'native', 'daily');\n\
        INSERT INTO visit SELECT now() - i * interval '1 hour', 'visit ' || i FROM generate_series(1, 48) i;",
    );
}

/// What only a superuser may make, and what fails for what was done around it: the rows come back, and what is missing is named.
#[test]
fn what_cannot_be_made_keeps_no_row_back() {
    let (site, _one) = site(
        "CREATE FUNCTION quiet(i int) RETURNS int LANGUAGE sql LEAKPROOF AS 'SELECT 1';\n\
        CREATE FUNCTION low(i int, j int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT i - j';\n\
        CREATE OPERATOR FAMILY odd USING btree; CREATE FOREIGN DATA WRAPPER files;\n\
        CREATE TABLE t (i int PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 10);\n\
        CREATE TABLE c (i int REFERENCES t); SET session_replication_role = replica; INSERT INTO c VALUES (99); RESET session_replication_role;\n\
        CREATE FUNCTION known(x int) RETURNS boolean LANGUAGE sql AS 'SELECT EXISTS (SELECT FROM t WHERE i = x)';\n\
        CREATE MATERIALIZED VIEW m AS SELECT i FROM t WHERE known(i);\n\
        CREATE VIEW v AS SELECT i, quiet(i) FROM t;",
    );
    let (target, run) = comes_back(&site);
    for named in [
        "function quiet(integer) (only superuser can define a leakproof function)",
        "operator family odd (must be superuser",
        "foreign data wrapper files (permission denied",
        "fk constraint c c_i_fkey (insert or update on table \"c\" violates foreign key constraint",
        "materialized view data m (relation \"t\" does not exist)",
        "view v (function public.quiet(integer) does not exist)",
    ] {
        assert!(run.stderr.contains(named), "{named}: {run}");
    }
    assert_eq!(target.psql("SELECT count(*) FROM t; SELECT i FROM c; SELECT low(3, 1)"), "10\n99\n2\n");
}

#[test]
#[ignore = "takes minutes: scripts/test --full"]
fn five_thousand_partitions() {
    let (site, _one) = site(
        "CREATE TABLE p (i int PRIMARY KEY, t text) PARTITION BY RANGE (i);\n\
        SELECT format('CREATE TABLE p%s PARTITION OF p FOR VALUES FROM (%s) TO (%s)', i, i, i + 1) FROM generate_series(1, 5000) i \\gexec\n\
        INSERT INTO p SELECT i, 'x' FROM generate_series(1, 4000) i;",
    );
    let (target, _) = comes_back(&site);
    assert_eq!(target.psql("SELECT count(*), count(DISTINCT tableoid) FROM p"), "4000|4000\n");
    assert_eq!(owners(&target), "app\n");
    target.psql("SELECT format('DROP TABLE p%s', i) FROM generate_series(1, 5000) i \\gexec");
}
