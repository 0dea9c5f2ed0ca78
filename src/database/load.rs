//! Loads a dump beside an empty database, as a role without rights, proves it by what the database counted when it was dumped, and lets
//! it take the empty one's place (SPEC 7).

use std::collections::BTreeSet;
use std::io::{ErrorKind, Read, Write};
use std::process::ChildStdin;

use log::{info, warn};

use super::aside::{Aside, Kind};
use super::client::{Client, SESSION};
use super::counts::{self, is_empty};
use super::dump::{DUMP, GLOBALS, shown};
use super::entries::{self, Extension, Survey, Trouble};
use super::failing;
use super::server::{self, LIMIT};
use super::sql::{identifier, literal};
use super::{roles, settings};
use crate::error::{Error, Result};
use crate::os::dir::Dir;
use crate::os::process::Input;
use crate::os::{random, signal};
use crate::settings::pg_uri::PgUri;
use crate::text::{Shown, hex};
use crate::tree::copy;
use crate::tree::manifest::Reader;
use crate::tree::manifest::counts::Counts;

/// From where databases are made and renamed: always there, and not the one that is loaded.
const SERVERS: [&str; 2] = ["postgres", "template1"];

/// A dump and what goes with it.
#[derive(Debug)]
pub struct Source {
    /// Where `pg_dump.sql` lies, and `globals.sql` if it was made with it.
    pub dir: Dir,
    /// What the database counted; none if the dump is older than that.
    pub counts: Option<Counts>,
}

impl Source {
    /// The dump of a snapshot, if there is one in it; `manifest` is the snapshot's own, by name.
    ///
    /// # Errors
    /// `Io`, `Unreadable`.
    pub fn of(snapshot: &Dir, manifest: &[u8]) -> Result<Option<Source>> {
        let Some(dir) = snapshot.sub(b"db")? else { return Ok(None) };
        if dir.look(DUMP)?.is_none() {
            return Ok(None);
        }
        let counts = match snapshot.read_if_there(manifest)? {
            Some((file, _)) => Reader::new(file)
                .map_err(|source| Error::Unreadable { path: snapshot.shown(manifest), source })?
                .header()
                .database
                .as_deref()
                .cloned(),
            None => None,
        };
        Ok(Some(Source { dir, counts }))
    }
}

/// Loads a dump in the place of a database that is empty; what is in it then, and what was left out. Whatever goes wrong leaves the
/// empty one. `note` gets what is left out while the empty one is still in its place.
///
/// # Errors
/// Of `note`; `Refused` if the database is not empty or the dump is not whole, `Unreadable`, `Failed` with psql's words or the differences,
/// `Config` if the user may not make databases and roles, `Busy`, `Interrupted`.
pub fn load(uri: &PgUri, source: &Source, note: impl FnOnce(&[String]) -> Result<()>) -> Result<Counts> {
    if !is_empty(uri)? {
        let next = "give a database that is empty (createdb makes one)".to_owned();
        return Err(Error::Refused { why: format!("the database {uri} is not empty: nothing was changed"), next });
    }
    let mark = mark(&source.dir)?;
    beside(uri, source, Kind::Load, |aside, left_out| {
        aside.give()?;
        if let Some(counts) = &source.counts {
            settings::bring_back(&aside, &counts.settings);
        }
        note(left_out)?;
        aside.take_place(&mark)
    })
}

/// Loads a dump beside a database, proves it and drops it, whatever is in it. The database itself is not touched.
///
/// # Errors
/// As [`load`].
pub fn drill(uri: &PgUri, source: &Source) -> Result<Counts> {
    beside(uri, source, Kind::Drill, |aside, _| aside.end())
}

/// Whether a database holds what a dump says: a run that was cut off has loaded it, or a person.
///
/// # Errors
/// As [`load`].
pub fn holds(uri: &PgUri, source: &Source) -> Result<bool> {
    let comment = Client::psql(uri)?
        .ask("SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = current_database();\n")?;
    let there = counts::count(uri)?;
    if there.tables() == 0 && there.large_objects == 0 {
        return Ok(false);
    }
    if comment == [mark(&source.dir)?] {
        return Ok(true);
    }
    Ok(differences(&there, source, &survey(&source.dir)?).is_empty())
}

/// By which a database is known whose dump was loaded by us, whatever became of it since.
fn mark(dir: &Dir) -> Result<String> {
    Ok(format!("restored by toolmaster from the dump {}", hex(&copy::hash(dir, DUMP)?)))
}

fn beside(
    uri: &PgUri,
    source: &Source,
    kind: Kind,
    and_then: impl FnOnce(Aside, &[String]) -> Result<()>,
) -> Result<Counts> {
    let survey = survey(&source.dir)?;
    let place = uri.with_database(if uri.database() == SERVERS[0] { SERVERS[1] } else { SERVERS[0] });
    let _alone = server::alone(&place)?;
    server::sweep(&place)?;
    let mut aside = Aside::make(uri, &place, kind)?;
    let filled = fill(&mut aside, source, &survey);
    let mut counts = match filled {
        Ok(counts) => counts,
        Err(error) => {
            if let Err(more) = aside.end() {
                warn!("{more}");
            }
            return Err(error);
        }
    };
    let failed = std::mem::replace(&mut counts.left_out, named(source, survey));
    let never = shown(&counts.left_out);
    counts.left_out.extend(failed.iter().cloned());
    and_then(aside, &counts.left_out)?;
    if !never.is_empty() {
        warn!(
            "left out, since only a superuser may make it or a backup holds no password: {never}; make it anew by hand"
        );
    }
    if !failed.is_empty() {
        warn!("all rows are there, but this failed: {}; make it anew by hand", failed.join(", "));
    }
    Ok(counts)
}

/// What a load leaves out, since only a superuser may make it: what the database said when it was dumped, and what the dump names.
///
/// # Errors
/// `Refused` if the dump is not whole, `Unreadable`, `Interrupted`.
pub fn left_out(source: &Source) -> Result<Vec<String>> {
    Ok(named(source, survey(&source.dir)?))
}

fn named(source: &Source, survey: Survey) -> Vec<String> {
    let mut names = source.counts.as_ref().map(|counts| counts.left_out.clone()).unwrap_or_default();
    names.extend(survey.left_out.into_iter().filter(|name| !names.contains(name)).collect::<Vec<_>>());
    names
}

/// What the dump holds; it must be whole.
fn survey(dir: &Dir) -> Result<Survey> {
    let (dump, _) = dir.read(DUMP)?;
    let survey = entries::read(Checked(dump), std::io::sink(), &BTreeSet::new());
    signal::check()?;
    let survey = survey.map_err(|trouble| in_dump(trouble, dir))?;
    if survey.whole {
        return Ok(survey);
    }
    Err(Error::Refused {
        why: format!("{} is not whole: its end is missing", dir.shown(DUMP)),
        next: "the database was not changed; use another snapshot or archive".to_owned(),
    })
}

/// Makes what only a superuser may make, loads the rest, and compares.
fn fill(aside: &mut Aside, source: &Source, survey: &Survey) -> Result<Counts> {
    if let Some((globals, _)) = source.dir.read_if_there(GLOBALS)? {
        let unreadable = |error| Error::Unreadable { path: source.dir.shown(GLOBALS), source: error };
        let names = roles::names(globals).map_err(unreadable)?;
        aside.make_roles(&names)?;
        if !aside.roles().is_empty() {
            info!("roles that were not here, made without any right: {}", shown(aside.roles()));
        }
    }
    let there = prepare(aside, survey)?;
    let failed = pour(aside, &source.dir, &there)?;
    aside.close()?;
    let mut found = counts::count(&aside.uri())?;
    let mut differences = differences(&found, source, survey);
    if !differences.is_empty()
        && let Some(expected) = expected(&found, source, survey)
        && found.equals_by_roots(&expected, &counts::roots(&aside.uri())?)
    {
        info!("rows of partitioned tables are in other partitions than before, all of them");
        differences.clear();
    }
    if differences.is_empty() {
        found.left_out = failed;
        return Ok(found);
    }
    // What failed is why.
    differences.extend(failed);
    let why = format!("what was loaded is not what {} says: {}", source.dir.shown(DUMP), differences.join("; "));
    Err(Error::Failed {
        why,
        next: "the database was not changed; keep the dump and the log, and restore an older snapshot",
    })
}

/// What is to be found, table by table; none where the dump's names can't be read.
fn expected(found: &Counts, source: &Source, survey: &Survey) -> Option<Counts> {
    source.counts.clone().or_else(|| survey.readable.then(|| survey.counts(found)))
}

/// A dump without counts is its own witness; one whose names can't be read, by its numbers.
fn differences(found: &Counts, source: &Source, survey: &Survey) -> Vec<String> {
    if let Some(expected) = expected(found, source, survey) {
        return found.differences(&expected);
    }
    let numbers = |counts: &Counts| (counts.tables(), counts.large_objects);
    let ((there, objects), (tables, large)) = (numbers(found), (survey.tables.len(), survey.large_objects));
    if (there, objects) == (tables, large) {
        return Vec::new();
    }
    vec![format!("{there} tables and {objects} large objects, the dump {tables} and {large}")]
}

/// Makes the extensions by name, before anything of the dump is there, and lets the role fill their tables and use their wrappers; the
/// schemas, as the dump writes them, that were made for that.
fn prepare(aside: &Aside, survey: &Survey) -> Result<BTreeSet<Vec<u8>>> {
    let (uri, role) = (aside.uri(), identifier(aside.role()));
    let client = Client::psql(&uri)?;
    let mut there = BTreeSet::new();
    let available = if survey.extensions.is_empty() {
        Vec::new()
    } else {
        client.ask("SELECT name FROM pg_available_extensions;")?
    };
    for Extension { name, schema_written, schema } in &survey.extensions {
        if !available.contains(name) {
            return Err(Error::Failed {
                why: format!(
                    "the dump needs the extension {}, which the database's server does not have",
                    Shown(name.as_bytes())
                ),
                next: "install it there and run it again",
            });
        }
        let mut text = String::new();
        if survey.schemas.contains(schema_written) && there.insert(schema_written.clone()) {
            text += &format!("CREATE SCHEMA IF NOT EXISTS {} AUTHORIZATION {role};\n", identifier(schema));
        }
        // A schema that the dump does not make is there, or the extension's own.
        let within = format!("EXISTS (SELECT FROM pg_namespace WHERE nspname = {})", literal(schema));
        text += &format!(
            "SELECT format('CREATE EXTENSION IF NOT EXISTS %I %s', {}, CASE WHEN {within} THEN format('WITH SCHEMA %I', {}) END) \\gexec\n",
            literal(name),
            literal(schema),
        );
        client.ask(&format!("SET client_min_messages = error;\n{text}"))?;
    }
    client.ask(&format!(
        "SELECT format('GRANT USAGE ON FOREIGN DATA WRAPPER %I TO %s', fdwname, {role}) FROM pg_foreign_data_wrapper \\gexec\n\
        SELECT format('GRANT ALL ON %s %I.%I TO %s', CASE WHEN c.relkind = 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, n.nspname, \
        c.relname, {role}), format('GRANT USAGE ON SCHEMA %I TO %s', n.nspname, {role}) FROM pg_extension e \
        CROSS JOIN unnest(e.extconfig) o JOIN pg_class c ON c.oid = o JOIN pg_namespace n ON n.oid = c.relnamespace \\gexec\n",
        role = literal(&role),
    ))?;
    Ok(there)
}

/// Gives psql the dump, as the role without rights; what of it failed, and can be done without. psql obeys none of its own commands within, since
/// nobody knows the key.
fn pour(aside: &Aside, dir: &Dir, there: &BTreeSet<Vec<u8>>) -> Result<Vec<String>> {
    let (login, key) = (aside.login(), random::id()?);
    let client = Client::psql(&login)?;
    // It goes on after an error, so that it must be sure to take this command.
    Client::psql(aside.server())?.ask(&format!("\\restrict {key}\n\\unrestrict {key}\n"))?;
    let (dump, _) = dir.read(DUMP)?;
    let arguments = ["--no-psqlrc", "--no-password", "--quiet", "--file=-"];
    let (mut all, mut begun) = (false, Vec::new());
    let feeder = |stdin: &mut ChildStdin| {
        let mut numbered = failing::Numbered::new(&mut *stdin, &mut begun);
        let ready = writeln!(numbered, "{SESSION}\\restrict {key}");
        let passed = ready.map_err(Trouble::Sink).and_then(|()| entries::read(Checked(dump), &mut numbered, there));
        signal::check()?;
        match passed {
            Ok(_) => all = writeln!(stdin, "\n\\unrestrict {key}").is_ok(),
            // It has its own words for why it has stopped reading.
            Err(Trouble::Sink(_)) => {}
            Err(trouble) => return Err(in_dump(trouble, dir)),
        }
        Ok(())
    };
    let ended = client.program(&arguments, LIMIT).input(Input::Fed(Box::new(feeder))).end()?;
    client.check(&ended).map_err(|error| not_loaded(error, dir))?;
    if !all {
        return Err(Error::Failed {
            why: format!("psql stopped reading {} before its end", dir.shown(DUMP)),
            next: "look at the log of the database and run it again",
        });
    }
    let said = ended.said.as_deref().unwrap_or(&ended.words);
    match failing::left_out(said, &begun) {
        Ok(left_out) if ended.said.is_some() => Ok(left_out),
        Ok(_) => Err(not_loaded(client.failed("", said), dir)),
        Err(first) => Err(not_loaded(client.failed("", &first), dir)),
    }
}

/// What a role without rights was told, for whoever restores.
fn not_loaded(error: Error, dir: &Dir) -> Error {
    let Error::Failed { why, next } = error else { return error };
    let asks =
        ["must be superuser", "permission denied", "commands are restricted"].iter().any(|words| why.contains(words));
    let next = if asks {
        "it asks for more than a dump may do: restore an older one, and have this one looked at by the system's keeper"
    } else {
        next
    };
    Error::Failed { why: format!("{} was not loaded, and the database is as it was: {why}", dir.shown(DUMP)), next }
}

fn in_dump(trouble: Trouble, dir: &Dir) -> Error {
    let (Trouble::Source(source) | Trouble::Sink(source)) = trouble;
    Error::Unreadable { path: dir.shown(DUMP), source }
}

/// A source that ends at a signal.
struct Checked<R>(R);

impl<R: Read> Read for Checked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        signal::check().map_err(|_| std::io::Error::from(ErrorKind::Other))?;
        self.0.read(buffer)
    }
}
