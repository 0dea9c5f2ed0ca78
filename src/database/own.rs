//! Which database is the server's own, and with which password.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::error::{Error, Result};
use crate::settings::pg_uri::PgUri;
use crate::settings::{Settings, env_file};

/// Where `provision` puts the password that it makes.
pub const PASSWORD_FILE: &str = "/etc/toolmaster/postgres-password";
/// No password is longer.
const MAX_PASSWORD: usize = 1024;

/// The database: `PG_URI` (or a command's `--pg-uri`, which goes before it), else the user and the database of
/// `$SERVER_ROOT/.env` on this machine.
///
/// # Errors
/// `Config`.
pub fn database(settings: &Settings, pg_uri: Option<&str>) -> Result<PgUri> {
    if let Some(text) = pg_uri {
        return crate::settings::database("--pg-uri", text);
    }
    if let Some(uri) = &settings.pg_uri {
        return Ok(uri.clone());
    }
    let path = settings.server_root.join(".env");
    let wrong = |why: String| Error::Config {
        why: format!("{}: {why}", path.display()),
        next: "copy .env.example to .env there, or give the database with PG_URI",
    };
    let pairs = env_file::parse(&bounded(&path, env_file::MAX).map_err(wrong)?).map_err(wrong)?;
    let value = |name: &str| {
        let found = pairs.iter().find(|(key, value)| key == name && !value.is_empty());
        found.map(|(_, value)| value.as_str()).ok_or_else(|| wrong(format!("{name} is not in it")))
    };
    let password = password()?;
    PgUri::local(value("POSTGRES_USER")?, &password, value("POSTGRES_DB")?).map_err(wrong)
}

fn password() -> Result<String> {
    let next = "run \"sudo toolmaster provision\", or give the database with PG_URI";
    let wrong = |why: String| Error::Config { why: format!("{PASSWORD_FILE}: {why}"), next };
    let bytes = bounded(Path::new(PASSWORD_FILE), MAX_PASSWORD).map_err(wrong)?;
    let text = String::from_utf8(bytes).map_err(|_| wrong("it is not UTF-8".to_owned()))?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    if text.is_empty() || text.chars().any(char::is_control) {
        return Err(wrong("it holds no password on its one line".to_owned()));
    }
    Ok(text.to_owned())
}

fn bounded(path: &Path, most: usize) -> std::result::Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let limit = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    let read = File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes));
    match read {
        Ok(count) if count > most => Err(format!("it is larger than {most} bytes")),
        Ok(_) => Ok(bytes),
        Err(error) => Err(format!("it can't be read: {error}")),
    }
}
