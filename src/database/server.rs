//! The database's server as far as loads have to do with it: one at a time, and nothing of an earlier one stays.

use std::io::Read;
use std::time::Duration;

use log::{info, warn};

use super::client::{Client, SESSION};
use super::counts::is_empty;
use super::sql::identifier;
use crate::error::{Error, Result};
use crate::os::process::running::Running;
use crate::settings::pg_uri::PgUri;

/// A load that takes longer hangs.
pub const LIMIT: Duration = Duration::from_secs(4 * 3600);
/// All that is ours begins so.
pub const OURS: &str = "toolmaster_";
/// Sixteen hexadecimal digits follow these.
pub const LOAD: &str = "toolmaster_load_";
/// The same of what a drill makes.
pub const DRILL: &str = "toolmaster_drill_";
/// The same of what had a restored database's name before.
pub const OLD: &str = "toolmaster_old_";
/// Held while somebody loads into a server: any number that nobody else takes.
const ALONE: &str = "7309464801211";

/// Keeps others from loading into the same server; ends with the answer, or with this process. A unit waits for them, a run by hand
/// for ten seconds.
///
/// # Errors
/// `Busy`, `Failed`.
pub fn alone<'a>(server: &'a PgUri) -> Result<Running<'a>> {
    let client = Client::psql(server)?;
    let mut session = client.session(LIMIT * 2).start()?;
    let patience = if std::env::var_os("INVOCATION_ID").is_some() { "0" } else { "10s" };
    let question =
        format!("{SESSION}SET lock_timeout = '{patience}';\nSELECT pg_advisory_lock({ALONE});\n\\echo alone\n");
    session.tell(question.as_bytes());
    // The function itself answers with an empty line.
    let mut answer = [0; 7];
    if session.read_exact(&mut answer).is_ok() {
        return Ok(session);
    }
    let ended = session.end()?;
    if ended.words.contains("lock timeout") {
        return Err(Error::Busy {
            why: format!("another restore or drill loads a dump into the server of {server}"),
            next: "wait until it is done and run it again",
        });
    }
    Err(client.failure(&ended))
}

/// Removes what runs that were cut off have left. Only for who is [`alone`].
///
/// # Errors
/// `Failed`.
pub fn sweep(server: &PgUri) -> Result<()> {
    let client = Client::psql(server)?;
    let named = |kinds: &str| format!("~ '^{OURS}({kinds})_[0-9a-f]{{16}}$'");
    for name in client.ask(&format!("SELECT datname FROM pg_database WHERE datname {};", named("load|drill|old")))? {
        if name.starts_with(OLD) && !is_empty(&server.with_database(&name))? {
            warn!(
                "the database {name} had the name of a restored one before, and holds data: look into it and drop it"
            );
            continue;
        }
        info!("dropping the database {name} that an earlier run left");
        drop_database(server, &name)?;
    }
    for name in client.ask(&format!("SELECT rolname FROM pg_roles WHERE rolname {};", named("load|drill")))? {
        if let Err(error) = client.tell(&format!("DROP ROLE IF EXISTS {};", identifier(&name))) {
            warn!("{error}");
        }
    }
    Ok(())
}

/// Drops a database of ours whatever is in it, and ends what is still connected to it.
///
/// # Errors
/// `Failed`.
pub fn drop_database(server: &PgUri, name: &str) -> Result<()> {
    let client = Client::psql(server)?;
    let statement =
        format!("SET client_min_messages = error; DROP DATABASE IF EXISTS {} WITH (FORCE);", identifier(name));
    let Err(first) = client.tell(&statement) else { return Ok(()) };
    // A subscription holds its database. What another server keeps for it is not ours to touch.
    let inside = server.with_database(name);
    let gone = Client::psql(&inside)?.tell(
        "SELECT format('ALTER EVENT TRIGGER %I DISABLE', evtname) FROM pg_event_trigger \\gexec\n\
        SELECT format('ALTER SUBSCRIPTION %I DISABLE', subname), format('ALTER SUBSCRIPTION %I SET (slot_name = NONE)', subname), \
        format('DROP SUBSCRIPTION %I', subname) FROM pg_subscription WHERE subdbid = (SELECT oid FROM pg_database \
        WHERE datname = current_database()) \\gexec\n",
    );
    if gone.is_err() {
        return Err(first);
    }
    client.tell(&statement)
}
