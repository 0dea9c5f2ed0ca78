//! Counts the rows of a database's tables as `COPY` does: what lies in them, without the planner. That would evaluate functions that
//! users have put into indexes, with the rights of whoever counts, and that is a superuser.

use std::io::Read;
use std::time::Duration;

use super::client::{Client, SESSION};
use super::sql::identifier;
use crate::error::{Error, Result};
use crate::os::process::running::Running;
use crate::settings::pg_uri::PgUri;
use crate::tree::manifest::counts::{Counts, Roots, Setting};

/// A count that takes longer hangs.
const LIMIT: Duration = Duration::from_secs(4 * 3600);
/// So many questions are asked at once: psql takes them all without anybody waiting to be heard.
const AT_ONCE: usize = 100;
/// No name of a table is longer, in JSON, and no setting.
const LONGEST: usize = 64 * 1024;
/// So many settings are kept.
const MOST_SETTINGS: usize = 1000;

/// Schemas that are not the system's own.
macro_rules! of_users {
    () => {
        "n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'"
    };
}
/// What users have made: not the system's own, and nothing that belongs to an extension.
pub const OURS: &str = concat!(
    of_users!(),
    " AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')"
);
/// Tables that may be read: a dump that leaves one out need not have the right to it.
const TABLES: &str = "FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p') \
    AND c.relpersistence <> 't' AND has_table_privilege(c.oid, 'SELECT')";

/// A database without an encoding holds any bytes: they are counted, not read.
const RAW: &str = "SELECT current_setting('server_encoding') = 'SQL_ASCII' AS raw \\gset toolmaster_\n\\if :toolmaster_raw\nSET client_encoding = 'SQL_ASCII';\n\\endif\n";

/// Schema, name, whether it has rows of its own, and the column that is cheapest to read.
type Table = (String, String, bool, Option<String>);

/// Of each partition the table that it is of.
///
/// # Errors
/// `Failed` with psql's words, `Interrupted`.
pub fn roots(uri: &PgUri) -> Result<Roots> {
    let question = "SELECT json_build_array(json_build_array(n.nspname, c.relname), json_build_array(m.nspname, r.relname)) FROM pg_class c \
        JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_class r ON r.oid = pg_partition_root(c.oid) \
        JOIN pg_namespace m ON m.oid = r.relnamespace WHERE c.relispartition;";
    let answer = Client::psql(uri)?.ask(question)?;
    Ok(answer.iter().filter_map(|line| serde_json::from_str(line).ok()).collect())
}

/// A moment of the database, and its tables, which nobody removes or empties while this is held.
pub struct Moment<'a> {
    client: &'a Client<'a>,
    session: Running<'a>,
    /// The name by which `pg_dump` looks at the same moment.
    pub snapshot: String,
    counts: Counts,
    tables: Vec<Table>,
    asked: usize,
}

impl<'a> Moment<'a> {
    /// Begins it; waits for tables that somebody holds for himself. The counting begins too.
    ///
    /// # Errors
    /// `Failed` with psql's words, `Interrupted`.
    pub fn begin(client: &'a Client<'a>, limit: Duration) -> Result<Moment<'a>> {
        // pg_dump takes the same weak locks, on the same tables; COPY takes no others.
        let begin = format!(
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;\nSELECT pg_export_snapshot();\n\
            SELECT format('LOCK TABLE ONLY %I.%I IN ACCESS SHARE MODE', n.nspname, c.relname) {TABLES} AND {OURS} \\gexec\n"
        );
        Moment::open(client, limit, &begin)
    }

    fn open(client: &'a Client<'a>, limit: Duration, begin: &str) -> Result<Moment<'a>> {
        let session = client.session(limit).start()?;
        let (counts, tables) = (Counts::default(), Vec::new());
        let mut moment = Moment { client, session, snapshot: String::new(), counts, tables, asked: 0 };
        // Of the columns one of fixed length, the shortest. Generated ones can't be copied.
        let question = format!(
            "{SESSION}{RAW}{begin}SELECT count(*) FROM pg_largeobject_metadata;\n\
            SELECT json_build_array('subscription ' || s.subname) FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid \
            WHERE d.datname = current_database();\n\
            SELECT json_build_array(CASE WHEN s.setrole <> 0 THEN pg_get_userbyid(s.setrole) END, s.setdatabase <> 0, \
            split_part(c, '=', 1), substr(c, strpos(c, '=') + 1)) FROM pg_db_role_setting s CROSS JOIN unnest(s.setconfig) c \
            WHERE s.setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database())) LIMIT {MOST_SETTINGS};\n\
            SELECT json_build_array(n.nspname, c.relname, c.relkind = 'r', (SELECT a.attname FROM pg_attribute a \
            WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '' \
            ORDER BY a.attlen < 0, a.attlen, a.attnum LIMIT 1)) {TABLES} AND {OURS};\n\
            SELECT 'all';\n"
        );
        moment.session.tell(question.as_bytes());
        if !begin.is_empty() {
            moment.snapshot = match moment.line()? {
                Some(line) => line,
                None => return Err(moment.failure()),
            };
        }
        let objects = moment.line()?.and_then(|line| line.parse().ok());
        match objects {
            Some(objects) => moment.counts.large_objects = objects,
            None => return Err(moment.failure()),
        }
        loop {
            let Some(line) = moment.line()? else { return Err(moment.failure()) };
            if line == "all" {
                break;
            }
            if let Ok(table) = serde_json::from_str::<Table>(&line) {
                moment.tables.push(table);
            } else if let Ok((role, here, name, value)) = serde_json::from_str(&line) {
                moment.counts.settings.push(Setting { role, here, name, value });
            } else if let Ok((left_out,)) = serde_json::from_str::<(String,)>(&line) {
                moment.counts.left_out.push(left_out);
            } else {
                return Err(moment.failure());
            }
        }
        moment.ask();
        Ok(moment)
    }

    /// Asks for the rows of the next tables.
    fn ask(&mut self) {
        let mut question = String::new();
        for (schema, table, filled, column) in self.tables.iter().skip(self.asked).take(AT_ONCE) {
            let columns = column.iter().map(|column| format!(" ({})", identifier(column))).collect::<String>();
            let name = format!("{}.{}", identifier(schema), identifier(table));
            question += &match filled {
                true => format!("COPY {name}{columns} TO STDOUT \\g /dev/null\n\\echo :ROW_COUNT\n"),
                false => "\\echo 0\n".to_owned(),
            };
        }
        self.session.tell(question.as_bytes());
    }

    /// Hears the rest, and ends it.
    ///
    /// # Errors
    /// `Failed` with psql's words, `Interrupted`.
    pub fn count(mut self) -> Result<Counts> {
        while self.asked < self.tables.len() {
            for _ in 0..AT_ONCE.min(self.tables.len() - self.asked) {
                let Some(rows) = self.line()?.and_then(|line| line.parse().ok()) else { return Err(self.failure()) };
                if let Some((schema, table, ..)) = self.tables.get(self.asked) {
                    self.counts.insert(schema, table, rows);
                }
                self.asked += 1;
            }
            self.ask();
        }
        self.session.end()?;
        Ok(self.counts)
    }

    /// The next line that psql says; none if it has no more to say.
    fn line(&mut self) -> Result<Option<String>> {
        let (mut bytes, mut byte) = (Vec::new(), [0]);
        while matches!(self.session.read(&mut byte), Ok(1)) && bytes.len() < LONGEST {
            if byte == *b"\n" {
                return Ok(String::from_utf8(bytes).ok());
            }
            bytes.extend(byte);
        }
        crate::os::signal::check().map(|()| None)
    }

    /// Why it says no more.
    fn failure(self) -> Error {
        match self.session.end() {
            Ok(ended) if !ended.status.success() => self.client.failure(&ended),
            Ok(_) => Error::Failed {
                why: "psql's list of the tables can't be understood".to_owned(),
                next: "run it again; if it stays, keep the log and call the system's keeper",
            },
            Err(error) => error,
        }
    }
}

/// Whether a database has no relations, functions, types or large objects of anybody's.
///
/// # Errors
/// `Failed` with psql's words, `Config` without it, `Interrupted`.
pub fn is_empty(uri: &PgUri) -> Result<bool> {
    let question = format!(
        "SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
        WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f', 'c') AND {OURS};\n\
        SELECT count(*) FROM (SELECT 'pg_proc'::regclass AS of, oid, pronamespace AS place FROM pg_proc UNION ALL \
        SELECT 'pg_type'::regclass, oid, typnamespace FROM pg_type WHERE typtype IN ('d', 'e', 'r')) c \
        JOIN pg_namespace n ON n.oid = c.place WHERE {of_users} AND NOT EXISTS (SELECT FROM pg_depend d \
        WHERE d.classid = c.of AND d.objid = c.oid AND d.deptype IN ('e', 'i'));\n\
        SELECT count(*) FROM pg_largeobject_metadata;\n",
        of_users = of_users!(),
    );
    Ok(Client::psql(uri)?.ask(&question)? == ["0", "0", "0"])
}

/// What is in a database now, table by table.
///
/// # Errors
/// `Failed` with psql's words, `Config` without it, `Interrupted`.
pub fn count(uri: &PgUri) -> Result<Counts> {
    let client = Client::psql(uri)?;
    let counts = Moment::open(&client, LIMIT, "")?.count()?;
    Ok(Counts { tables: counts.tables, large_objects: counts.large_objects, ..Counts::default() })
}
