//! Dumps that want to do more than fill a database: nothing of them runs with rights, no role and no database is more than before, and the
//! log says why they failed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::fs;
use std::path::Path;
use std::sync::Mutex;

use common::postgres::postgres;
use toolmaster::database::counts;
use toolmaster::database::load::{self, Source};
use toolmaster::os::dir::Dir;

static ONE: Mutex<()> = Mutex::new(());

const END: &str = "--\n-- PostgreSQL database dump complete\n--\n\n";
/// Makes a superuser wherever a superuser calls it, and is taken for a constant, which the planner works out by itself.
const TRAP: &str = "CREATE FUNCTION public.spring() RETURNS void LANGUAGE plpgsql AS $$ BEGIN\n\
    IF (SELECT bool_or(rolsuper) FROM pg_catalog.pg_roles WHERE rolname IN (current_user, session_user)) \
    THEN EXECUTE 'CREATE ROLE evil SUPERUSER LOGIN'; END IF; END $$;\n\
    CREATE FUNCTION public.trap(i integer) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM public.spring(); RETURN true; END $$;\n";

fn roles_and_databases() -> String {
    postgres().psql(
        "postgres",
        "SELECT rolname, rolsuper FROM pg_roles ORDER BY 1; SELECT datname FROM pg_database ORDER BY 1",
    )
}

fn source(dir: &Path, dump: &str) -> Source {
    fs::write(dir.join("pg_dump.sql"), dump).unwrap();
    Source { dir: Dir::open(dir).unwrap(), counts: None }
}

fn table(name: &str, rest: &str) -> String {
    format!(
        "--\n-- Name: {name}; Type: TABLE; Schema: public; Owner: -\n--\n\nCREATE TABLE public.{name} (a integer{rest});\n"
    )
}

fn rows(name: &str) -> String {
    format!(
        "--\n-- Data for Name: {name}; Type: TABLE DATA; Schema: public; Owner: -\n--\n\nCOPY public.{name} (a) FROM stdin;\n1\n\\.\n"
    )
}

#[test]
fn what_needs_rights_fails_and_leaves_nothing() {
    let _one = ONE.lock();
    let (database, dir) = (postgres().database(), tempfile::tempdir().unwrap());
    let mark = dir.path().join("mark");
    let touch = format!("touch {}", mark.display());
    let before = roles_and_databases();
    for (text, why) in [
        ("DO $$ BEGIN CREATE ROLE evil SUPERUSER; END $$;\n".to_owned(), "must be superuser"),
        ("CREATE ROLE evil;\n".to_owned(), "permission denied"),
        ("CREATE DATABASE evil;\n".to_owned(), "permission denied"),
        ("ALTER SYSTEM SET work_mem = '1MB';\n".to_owned(), "permission denied"),
        ("ALTER ROLE app PASSWORD 'x';\n".to_owned(), "ust be superuser"),
        ("SET SESSION AUTHORIZATION app;\n".to_owned(), "permission denied"),
        ("SET ROLE app;\n".to_owned(), "permission denied"),
        ("RESET SESSION AUTHORIZATION; RESET ROLE; CREATE ROLE evil;\n".to_owned(), "permission denied"),
        (format!("COPY (SELECT 1) TO PROGRAM '{touch}';\n"), "to COPY to or from an external program"),
        (format!("CREATE TABLE public.t (a text); COPY public.t FROM PROGRAM '{touch}';\n"), "to COPY to or from an external program"),
        (format!("SELECT pg_catalog.pg_read_file('{}');\n", "/etc/passwd"), "permission denied"),
        (format!("\\! {touch}\n"), "backslash commands are restricted"),
        (format!("SELECT 1 \\g |{touch}\n"), "backslash commands are restricted"),
        (format!("\\o |{touch}\n"), "backslash commands are restricted"),
        (format!("\\copy t from program '{touch}'\n"), "backslash commands are restricted"),
        (format!("\\restrict a\n\\unrestrict a\n\\! {touch}\n"), "wrong key"),
        ("\\connect postgres\n".to_owned(), "backslash commands are restricted"),
        ("\\q\n".to_owned(), "backslash commands are restricted"),
        ("CREATE EVENT TRIGGER e ON ddl_command_start EXECUTE FUNCTION public.trap();\n".to_owned(), ""),
        ("--\n-- Name: evil; Type: EXTENSION; Schema: -; Owner: -\n--\n\nCREATE EXTENSION IF NOT EXISTS evil WITH SCHEMA public;\n".to_owned(), "the extension evil"),
        // What another server had does not stay either.
        (format!("{}{TRAP}ALTER TABLE public.t ADD CHECK (public.trap(a));\n{}SELECT 1/0;\n", table("t", ""), rows("t")), "division by zero"),
    ] {
        fs::write(dir.path().join("globals.sql"), "CREATE ROLE someone;\nALTER ROLE app PASSWORD 'x';\n").unwrap();
        let error = load::load(&database.uri(), &source(dir.path(), &format!("{text}{END}")), |_| Ok(())).unwrap_err().to_string();
        assert!(error.contains(why), "{text}: {error}");
        assert!(!mark.exists(), "{text}: {error}");
        assert!(counts::is_empty(&database.uri()).unwrap(), "{text}");
        common::assert_unchanged(&before, &roles_and_databases());
    }
}

/// Functions in constraints, defaults, indexes and partitions run while a dump is loaded, counted and given to its owner.
#[test]
fn functions_of_a_dump_never_run_as_superuser() {
    let _one = ONE.lock();
    let (database, dir) = (postgres().database(), tempfile::tempdir().unwrap());
    let before = roles_and_databases();
    let dump = [
        TRAP,
        &table("t", " CHECK (public.trap(a)), b boolean DEFAULT public.trap(1)"),
        &table("k", ""),
        &rows("t"),
        &rows("k"),
        "CREATE INDEX i ON public.t (a) WHERE public.trap(2);\nCREATE INDEX j ON public.t ((public.trap(3)));\n\
        CREATE STATISTICS public.st ON (public.trap(a)), (a + 1) FROM public.t;\n\
        ALTER TABLE public.k ENABLE ROW LEVEL SECURITY;\nALTER TABLE public.k FORCE ROW LEVEL SECURITY;\n\
        CREATE POLICY p ON public.k USING (public.trap(4));\n",
        END,
    ]
    .concat();
    let source = source(dir.path(), &dump);
    let found = load::drill(&database.uri(), &source).unwrap();
    assert_eq!((found.tables(), found.rows()), (2, 2));
    common::assert_unchanged(&before, &roles_and_databases());
    load::load(&database.uri(), &source, |_| Ok(())).unwrap();
    assert!(load::holds(&database.uri(), &source).unwrap());
    common::assert_unchanged(&before, &roles_and_databases());
    // Its rows are counted at the next snapshot too, by a superuser.
    let next = tempfile::tempdir().unwrap();
    toolmaster::database::dump::dump(&database.uri(), &Default::default(), &Dir::open(next.path()).unwrap()).unwrap();
    common::assert_unchanged(&before, &roles_and_databases());
    // The trap is one.
    let sprung = "SELECT trap(1); SELECT rolname FROM pg_roles WHERE rolname = 'evil'; DROP ROLE evil";
    assert_eq!(database.psql(sprung), "t\nevil\n");
}

/// The role owns the database that it loads into, and may set what holds for whoever enters it.
#[test]
fn nothing_that_a_dump_sets_for_its_database_stays() {
    let _one = ONE.lock();
    let (database, dir) = (postgres().database(), tempfile::tempdir().unwrap());
    let before = roles_and_databases();
    let set =
        ["SET search_path = public, pg_catalog", "SET default_transaction_read_only = on", "SET statement_timeout = 1"]
            .into_iter()
            .chain(["CONNECTION LIMIT 0"])
            .map(|what| format!("EXECUTE format('ALTER DATABASE %I {what}', current_database());\n"))
            .collect::<String>();
    let dump = [
        TRAP,
        "CREATE FUNCTION public.now() RETURNS timestamptz LANGUAGE plpgsql AS $$ BEGIN PERFORM public.spring(); RETURN pg_catalog.now(); END $$;\n",
        &table("t", ""),
        &rows("t"),
        &format!("DO $$ BEGIN\n{set}EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database()); END $$;\n"),
        END,
    ]
    .concat();
    let source = source(dir.path(), &dump);
    load::drill(&database.uri(), &source).unwrap();
    common::assert_unchanged(&before, &roles_and_databases());
    load::load(&database.uri(), &source, |_| Ok(())).unwrap();
    database.psql("SELECT now(); INSERT INTO public.t VALUES (2)");
    common::assert_unchanged(&before, &roles_and_databases());
    let set = "SELECT datconnlimit, datallowconn, datacl FROM pg_database WHERE datname = current_database(); \
        SELECT setconfig FROM pg_db_role_setting WHERE setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())";
    assert_eq!(database.psql(set), "-1|t|\n");
}

/// It may give its role a password of its own, and a way to log in with that elsewhere.
#[test]
fn a_dump_is_in_one_place_at_a_time() {
    let _one = ONE.lock();
    let (database, dir, other) = (postgres().database(), tempfile::tempdir().unwrap(), postgres().database());
    let before = roles_and_databases();
    let text = format!(
        "--\n-- Name: dblink; Type: EXTENSION; Schema: -; Owner: -\n--\n\nCREATE EXTENSION IF NOT EXISTS dblink WITH SCHEMA public;\n\
        ALTER ROLE CURRENT_USER PASSWORD 'known';\nSELECT public.dblink_exec(format('host=127.0.0.1 port={} dbname={} user=%s password=known', current_user), \
        'SELECT lo_create(4711)');\n{END}",
        postgres().port,
        other.name
    );
    let error = load::load(&database.uri(), &source(dir.path(), &text), |_| Ok(())).unwrap_err().to_string();
    assert!(error.contains("could not establish connection"), "{error}");
    common::assert_unchanged(&before, &roles_and_databases());
    assert_eq!(other.psql("SELECT count(*) FROM pg_largeobject_metadata"), "0\n");
}

#[test]
fn a_user_that_may_not_make_roles_is_told_whom_to_name() {
    let _one = ONE.lock();
    let (database, dir) = (postgres().database(), tempfile::tempdir().unwrap());
    database.psql("CREATE ROLE hostile_plain LOGIN CREATEDB PASSWORD 'p'");
    let uri = database.uri().with_login("hostile_plain", "p");
    let error = load::load(&uri, &source(dir.path(), END), |_| Ok(())).unwrap_err();
    database.psql("DROP ROLE hostile_plain");
    assert_eq!(error.exit_code(), 78);
    assert!(
        error.to_string().contains("hostile_plain is no superuser") && error.to_string().contains("PG_URI"),
        "{error}"
    );
}
