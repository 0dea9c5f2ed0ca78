//! The comparison against an independent one: SQL's own `FULL OUTER JOIN` over both tables in one database, on a thousand pairs
//! of small random tables with everything in them that text, times and collations can bring.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod common;

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use common::call::BINARY;
use common::postgres::{Database, postgres};
use serde_json::{Value, json};
use toolmaster::mirror::compare::{Difference, END, compare};
use toolmaster::mirror::db;

const CASES: usize = 1000;
/// So many of them as a run of the program too; the others as the merge of what its statement reads.
const RUNS: usize = 100;
const SEED: u64 = 20_260_131;

/// xorshift64*: the same numbers on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        usize::try_from(self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33).unwrap() % limit
    }

    fn one_of<'a>(&mut self, list: &[&'a str]) -> &'a str {
        list[self.below(list.len())]
    }

    fn in_hundred(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    fn text(&mut self) -> String {
        const PIECES: [&str; 30] = [
            "A",
            "a",
            "B",
            "b",
            "0",
            "9",
            "10",
            "é",
            "e\u{301}",
            "ß",
            "工",
            "具",
            "😀",
            "👩‍🔧",
            "\t",
            "\n",
            "\r",
            "\\",
            "\\N",
            "\\.",
            "'",
            "\"",
            " ",
            "-",
            "_",
            "\u{7f}",
            "\u{1}",
            "\u{200b}",
            "ﾊ",
            "ハ",
        ];
        (0..self.below(4)).map(|_| self.one_of(&PIECES)).collect()
    }

    /// A literal of SQL, sometimes NULL.
    fn value(&mut self) -> String {
        if self.in_hundred(15) { "NULL".to_owned() } else { literal(&self.text()) }
    }

    fn time(&mut self) -> String {
        const TIMES: [&str; 9] = [
            "NULL",
            "'infinity'",
            "'-infinity'",
            "'2026-01-31 02:30:00+09'",
            "'2026-01-30 17:30:00Z'",
            "'2026-01-30 17:30:00.000001Z'",
            "'2026-01-30 17:30:00.25Z'",
            "'1969-12-31 23:59:59.999999Z'",
            "'2026-10-25 01:30:00Z'",
        ];
        self.one_of(&TIMES).to_owned()
    }

    fn row(&mut self, key: &str) -> Vec<String> {
        let mut row = vec![literal(key)];
        row.extend((0..3).map(|_| self.value()));
        row.extend((0..2).map(|_| self.time()));
        row
    }
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// Both tables of a case, as SQL.
fn case(number: usize, random: &mut Random) -> String {
    const COLLATIONS: [&str; 6] =
        ["", "COLLATE \"C\"", "COLLATE \"POSIX\"", "COLLATE \"en-x-icu\"", "COLLATE \"ja-x-icu\"", "COLLATE odd"];
    let keys: std::collections::BTreeSet<String> = (0..random.below(13)).map(|_| random.text()).collect();
    let mut tables = [Vec::new(), Vec::new()];
    for key in keys {
        let row = random.row(&key);
        let mut other = row.clone();
        if random.in_hundred(40) {
            let at = 1 + random.below(5);
            other[at] = if at < 4 { random.value() } else { random.time() };
        }
        if random.in_hundred(85) {
            tables[0].push(row);
        }
        if random.in_hundred(85) {
            tables[1].push(other);
        }
    }
    let mut sql = String::new();
    for (side, rows) in ["p", "m"].iter().zip(tables) {
        let collation = random.one_of(&COLLATIONS);
        // A time without a zone is UTC's; the session that fills the tables is in UTC.
        let time = if random.in_hundred(20) { "timestamp" } else { "timestamptz" };
        let text = random.one_of(&["text", "varchar(80)"]);
        // A collation to which "A" and "a" are equal allows no unique key of these.
        let key = if collation.contains("odd") { "" } else { "PRIMARY KEY" };
        writeln!(
            sql,
            "CREATE SCHEMA {side}{number}; CREATE TABLE {side}{number}.part_locations (updated_at {time}, order_code {text} {collation} \
             {key}, device_id text, location_code {text} {collation}, last_scan_id text, scanned_at {time}, more int);"
        )
        .unwrap();
        for row in rows {
            let [a, b, c, d, e, f] = &row[..] else { panic!() };
            writeln!(
                sql,
                "INSERT INTO {side}{number}.part_locations (order_code, location_code, device_id, last_scan_id, scanned_at, updated_at) \
                 VALUES ({a}, {b}, {c}, {d}, {e}::timestamptz, {f}::timestamptz);"
            )
            .unwrap();
        }
    }
    sql
}

/// What the two say differently, in SQL's words.
const ORACLE: &str = r#"
CREATE FUNCTION iso(t timestamptz) RETURNS text LANGUAGE sql SET timezone = 'UTC' RETURN CASE WHEN isfinite(t)
  THEN rtrim(rtrim(to_char(t, 'YYYY-MM-DD"T"HH24:MI:SS.US'), '0'), '.') || 'Z' ELSE t::text END;
CREATE FUNCTION oracle(n int) RETURNS text LANGUAGE plpgsql SET timezone = 'UTC' AS $$ DECLARE answer text; BEGIN
EXECUTE format($q$
WITH p AS (SELECT order_code::text COLLATE "C" k, ARRAY[location_code, device_id, last_scan_id, iso(scanned_at), iso(updated_at)] v
             FROM p%1$s.part_locations),
     m AS (SELECT order_code::text COLLATE "C" k, ARRAY[location_code, device_id, last_scan_id, iso(scanned_at), iso(updated_at)] v
             FROM m%1$s.part_locations),
     c AS (SELECT ARRAY['location_code', 'device_id', 'last_scan_id', 'scanned_at', 'updated_at'] names)
SELECT jsonb_build_object('primary', (SELECT count(*) FROM p), 'mirror', (SELECT count(*) FROM m), 'diff', coalesce(jsonb_agg(
  jsonb_build_object('order_code', coalesce(p.k, m.k),
    'reason', CASE WHEN p.k IS NULL THEN 'missing_in_primary' WHEN m.k IS NULL THEN 'missing_in_mirror' ELSE 'field_mismatch' END,
    'diff', CASE WHEN p.k IS NULL OR m.k IS NULL THEN '{}' ELSE
      (SELECT jsonb_object_agg(names[i], jsonb_build_array(p.v[i], m.v[i])) FROM generate_series(1, 5) i
        WHERE p.v[i] COLLATE "C" IS DISTINCT FROM m.v[i] COLLATE "C") END,
    'primary', CASE WHEN p.k IS NOT NULL THEN jsonb_object(names || 'order_code'::text, p.v || p.k) END,
    'mirror', CASE WHEN m.k IS NOT NULL THEN jsonb_object(names || 'order_code'::text, m.v || m.k) END)
  ORDER BY coalesce(p.k, m.k) COLLATE "C"), '[]'))::text
FROM p FULL OUTER JOIN m ON p.k = m.k CROSS JOIN c
WHERE p.k IS NULL OR m.k IS NULL OR EXISTS (SELECT FROM generate_series(1, 5) i
        WHERE p.v[i] COLLATE "C" IS DISTINCT FROM m.v[i] COLLATE "C")
$q$, n) INTO answer; RETURN answer; END $$;
"#;

#[test]
fn the_same_differences_as_an_outer_join_and_none_more() {
    println!("seed {SEED}, {CASES} cases");
    let database = postgres().database();
    // What a session finds set is not what it needs.
    database.psql(&format!(
        "ALTER DATABASE {0} SET timezone = 'Asia/Tokyo'; ALTER DATABASE {0} SET datestyle = 'SQL, DMY';",
        database.name
    ));
    let mut sql = "SET timezone = 'UTC'; CREATE COLLATION odd (provider = icu, locale = 'und-u-ks-level1', deterministic = false);".to_owned();
    sql += ORACLE;
    let mut random = Random(SEED);
    (0..CASES).for_each(|number| sql += &case(number, &mut random));
    database.psql(&sql);
    let answers = database.psql(&format!("SELECT oracle(n) FROM generate_series(0, {CASES} - 1) n ORDER BY n"));
    let answers: Vec<Value> = answers.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(answers.len(), CASES);

    for ((number, answer), streams) in answers.iter().enumerate().zip(streams(&database)) {
        assert_eq!(&merged(streams), answer, "case {number}");
    }
    let dir = tempfile::tempdir().unwrap();
    for (number, answer) in answers.iter().enumerate().take(RUNS) {
        assert_eq!(&run(&database, number, dir.path()), answer, "case {number}");
    }
    let mut kinds = std::collections::BTreeMap::new();
    for difference in answers.iter().flat_map(|answer| answer["diff"].as_array().unwrap()) {
        *kinds.entry(difference["reason"].as_str().unwrap()).or_insert(0) += 1;
    }
    let equal = answers.iter().filter(|answer| answer["diff"] == json!([])).count();
    println!("{equal} pairs of equal tables; differences: {kinds:?}");
    assert!(equal > 50 && kinds.len() == 3 && kinds.values().all(|count| *count > 300), "{equal} {kinds:?}");
}

/// Both tables of each case as our own statement reads them, a session for all tables of a side.
fn streams(database: &Database) -> Vec<[String; 2]> {
    let side = |side: &str| {
        let all: String = (0..CASES)
            .map(|number| format!("SET search_path = {side}{number};\n{};\n\\echo {END}\n", db::copy()))
            .collect();
        let mut psql = Command::new("psql");
        psql.args(["-Xqv", "ON_ERROR_STOP=1", "-f", "-"]).envs(database.uri().environment()).envs(db::SESSION);
        let mut psql = psql.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut stdin = psql.stdin.take().unwrap();
        let writer = std::thread::spawn(move || stdin.write_all(all.as_bytes()).unwrap());
        let output = psql.wait_with_output().unwrap();
        writer.join().unwrap();
        assert!(output.status.success());
        let text = String::from_utf8(output.stdout).unwrap();
        text.split_inclusive(&format!("{END}\n")).map(str::to_owned).collect::<Vec<_>>()
    };
    let streams: Vec<[String; 2]> = side("p").into_iter().zip(side("m")).map(Into::into).collect();
    assert_eq!(streams.len(), CASES);
    streams
}

/// What the merge says of two streams, in the oracle's form.
fn merged([primary, mirror]: [String; 2]) -> Value {
    let mut diff = Vec::new();
    let mut tell = |difference: &Difference<'_>| {
        let mut text = Vec::new();
        difference.write(&mut text).unwrap();
        diff.push(serde_json::from_slice::<Value>(&text).unwrap());
    };
    let counts = compare(primary.as_bytes(), mirror.as_bytes(), &mut tell).unwrap();
    assert_eq!(counts.different, diff.len() as u64);
    json!({"primary": counts.primary, "mirror": counts.mirror, "diff": diff})
}

/// What a run of the program says of a case, in the oracle's form.
fn run(database: &Database, number: usize, dir: &Path) -> Value {
    let uri = |side: &str| format!("{}?options=-csearch_path%3D{side}{number}", postgres().uri_text(&database.name));
    let config = json!({"primary_db_uri": uri("p"), "mirror_db_uri": uri("m"), "status_dir": dir, "log_dir": dir});
    fs::write(dir.join("config.json"), config.to_string()).unwrap();
    let _ = fs::remove_file(dir.join("mirror_diff.log"));
    let run = Command::new(BINARY)
        .args(["mirror-compare", "--config"])
        .arg(dir.join("config.json"))
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("SERVER_ROOT", dir)
        .output()
        .unwrap();
    let read = |name: &str| fs::read_to_string(dir.join(name)).unwrap_or_default();
    let parse = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    let status = parse(read("mirror_status.log").lines().last().unwrap_or_default());
    let diff = read("mirror_diff.log");
    let diff = if diff.is_empty() { json!([]) } else { parse(&diff)["diff"].clone() };
    let count = diff.as_array().unwrap().len();
    let (code, word) = if count == 0 { (0, "OK") } else { (2, "DIFF") };
    assert_eq!(run.status.code(), Some(code), "case {number}: {}", String::from_utf8_lossy(&run.stderr));
    assert_eq!((&status["status"], &status["diff_count"]), (&json!(word), &json!(count)), "case {number}");
    json!({"primary": status["primary_count"], "mirror": status["mirror_count"], "diff": diff})
}
