//! Which database, and how to get in: `postgresql://user:password@host:port/db?sslmode=…` (SPEC 2). *Pure.* The password
//! is not shown by any form of printing.

use std::fmt;

/// No address that people write is longer.
const MAX: usize = 4096;
/// What may stand behind `?`, and the variable by which PostgreSQL's programs are told.
const PARAMETERS: [(&str, &str); 8] = [
    ("application_name", "PGAPPNAME"),
    ("connect_timeout", "PGCONNECT_TIMEOUT"),
    ("gssencmode", "PGGSSENCMODE"),
    ("options", "PGOPTIONS"),
    ("sslcert", "PGSSLCERT"),
    ("sslkey", "PGSSLKEY"),
    ("sslmode", "PGSSLMODE"),
    ("sslrootcert", "PGSSLROOTCERT"),
];

/// A database and the way to it.
#[derive(Clone, PartialEq, Eq)]
pub struct PgUri {
    user: String,
    password: Option<String>,
    host: String,
    port: u16,
    database: String,
    /// Variables of libpq and their values.
    parameters: Vec<(&'static str, String)>,
}

impl PgUri {
    /// A database on this machine.
    ///
    /// # Errors
    /// What is wrong, without the password.
    pub fn local(user: &str, password: &str, database: &str) -> Result<PgUri, String> {
        PgUri {
            user: user.to_owned(),
            password: Some(password.to_owned()),
            host: "127.0.0.1".to_owned(),
            port: 5432,
            database: database.to_owned(),
            parameters: Vec::new(),
        }
        .checked()
    }

    /// Reads `postgresql://user:password@host:port/db?…` (libpq's form; user and database must be there).
    ///
    /// # Errors
    /// What is wrong, without the text, which may hold a password.
    pub fn parse(text: &str) -> Result<PgUri, String> {
        if text.len() > MAX {
            return Err(format!("it is longer than {MAX} bytes"));
        }
        let rest = text.strip_prefix("postgresql://").or_else(|| text.strip_prefix("postgres://"));
        let rest = rest.ok_or("it does not begin with postgresql://")?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, database) = rest.split_once('/').ok_or("it names no database (…/database)")?;
        let (login, place) = authority.rsplit_once('@').ok_or("it names no user (user:password@host)")?;
        let (user, password) = match login.split_once(':') {
            Some((user, password)) => (user, Some(decode(password)?)),
            None => (login, None),
        };
        let (host, port) = host_and_port(place)?;
        let host = decode(host)?;
        let mut uri = PgUri {
            user: decode(user)?,
            password,
            host: if host.is_empty() { "127.0.0.1".to_owned() } else { host },
            port,
            database: decode(database)?,
            parameters: Vec::new(),
        };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').ok_or("what stands behind \"?\" is not name=value")?;
            uri.parameter(name, decode(value)?)?;
        }
        uri.checked()
    }

    fn parameter(&mut self, name: &str, value: String) -> Result<(), String> {
        if name == "host" {
            self.host = value;
            return Ok(());
        }
        let known = PARAMETERS.iter().find(|(known, _)| *known == name);
        let (_, variable) = known.ok_or("it has a parameter behind \"?\" that is not supported")?;
        if self.parameters.iter().any(|(other, _)| other == variable) {
            return Err(format!("{name} is there twice"));
        }
        self.parameters.push((variable, value));
        Ok(())
    }

    fn checked(self) -> Result<PgUri, String> {
        let parts = [("user", &self.user), ("database", &self.database), ("host", &self.host)];
        if let Some((name, _)) = parts.iter().find(|(_, value)| value.is_empty()) {
            return Err(format!("the {name} is empty"));
        }
        let values = self.parameters.iter().map(|(_, value)| value);
        let all = parts.into_iter().map(|(_, value)| value).chain(&self.password).chain(values);
        if all.flat_map(|value| value.chars()).any(char::is_control) {
            return Err("it has a control character".to_owned());
        }
        if self.host.contains(',') {
            return Err("it names more than one host".to_owned());
        }
        // libpq takes such a name for a whole connection string.
        if self.database.contains('=') || self.database.contains("://") {
            return Err("the database's name has \"=\" or \"://\"".to_owned());
        }
        Ok(self)
    }

    /// Another database on the same server.
    #[must_use]
    pub fn with_database(&self, database: &str) -> PgUri {
        PgUri { database: database.to_owned(), ..self.clone() }
    }

    /// The same database for another user.
    #[must_use]
    pub fn with_login(&self, user: &str, password: &str) -> PgUri {
        PgUri { user: user.to_owned(), password: Some(password.to_owned()), ..self.clone() }
    }

    /// The user.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The password. Only for a place that nobody else can read.
    pub fn password(&self) -> Option<&str> {
        self.password.as_deref()
    }

    /// The host's name or address, or the directory of its socket.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The database's name.
    pub fn database(&self) -> &str {
        &self.database
    }

    /// The value of a parameter behind `?`, by its name.
    pub fn parameter_value(&self, name: &str) -> Option<&str> {
        let (_, variable) = PARAMETERS.iter().find(|(known, _)| *known == name)?;
        self.parameters.iter().find(|(other, _)| other == variable).map(|(_, value)| value.as_str())
    }

    /// The environment that tells PostgreSQL's programs all of it, so that nothing is in their arguments.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        let mut variables = vec![
            ("PGUSER", self.user.clone()),
            ("PGHOST", self.host.clone()),
            ("PGPORT", self.port.to_string()),
            ("PGDATABASE", self.database.clone()),
        ];
        variables.extend(self.password.clone().map(|password| ("PGPASSWORD", password)));
        variables.extend(self.parameters.iter().cloned());
        variables
    }
}

fn host_and_port(place: &str) -> Result<(&str, u16), String> {
    let (host, port) = match place.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']').ok_or("the \"]\" of its host is missing")?;
            let port = if port.is_empty() { "" } else { port.strip_prefix(':').ok_or("its port is no number")? };
            (host, port)
        }
        None => place.split_once(':').unwrap_or((place, "")),
    };
    match port {
        "" => Ok((host, 5432)),
        digits if digits.bytes().all(|c| c.is_ascii_digit()) => match digits.parse() {
            Ok(port @ 1..) => Ok((host, port)),
            _ => Err("its port is not 1 to 65535".to_owned()),
        },
        _ => Err("its port is no number (\":\", \"/\", \"@\" in a password are written %3A, %2F, %40)".to_owned()),
    }
}

fn decode(text: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|c| char::from(c).to_digit(16)).and_then(|d| u8::try_from(d).ok());
        let (Some(high), Some(low)) = (digit(), digit()) else {
            return Err("a \"%\" is not followed by two hexadecimal digits (a \"%\" itself is written %25)".to_owned());
        };
        bytes.push(high << 4 | low);
    }
    String::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())
}

impl fmt::Display for PgUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PgUri { user, host, port, database, .. } = self;
        write!(f, "{database} of {user} at {host}:{port}")
    }
}

impl fmt::Debug for PgUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PgUri({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_forms() {
        let uri = PgUri::parse("postgresql://app:p%40ss%3A%E5%B7%A5@db.local:6432/sensor%20db?sslmode=prefer").unwrap();
        assert_eq!((uri.user(), uri.host(), uri.port(), uri.database()), ("app", "db.local", 6432, "sensor db"));
        assert_eq!(uri.password(), Some("p@ss:工"));
        assert_eq!(uri.parameter_value("sslmode"), Some("prefer"));
        assert!(uri.environment().contains(&("PGSSLMODE", "prefer".to_owned())));
        let uri = PgUri::parse("postgres://app@[::1]/db").unwrap();
        assert_eq!((uri.host(), uri.port(), uri.password()), ("::1", 5432, None));
        assert_eq!(PgUri::parse("postgresql://app@/db?host=/run/postgresql").unwrap().host(), "/run/postgresql");
        assert_eq!(PgUri::parse("postgresql://app@%2Frun%2Fpostgresql/db").unwrap().host(), "/run/postgresql");
        assert_eq!(PgUri::parse("postgresql://app:a@b@h/db").unwrap().password(), Some("a@b"));
    }

    #[test]
    fn nonsense_is_an_error_without_the_password() {
        for text in [
            "",
            "secret",
            "mysql://app:secret@h/db",
            "postgresql://app:secret@h",
            "postgresql://app:secret@h/",
            "postgresql://:secret@h/db",
            "postgresql://h/db",
            "postgresql://app:secret%zz@h/db",
            "postgresql://app:secret%2@h/db",
            "postgresql://app:secret%ff@h/db",
            "postgresql://app:secret%00@h/db",
            "postgresql://app:secret%0a@h/db",
            "postgresql://app:secret@h:0/db",
            "postgresql://app:secret@h:65536/db",
            "postgresql://app:secret@h:+1/db",
            "postgresql://app:secret@a,b/db",
            "postgresql://app:secret@[::1/db",
            "postgresql://app:secret@h/db?password=secret",
            "postgresql://app:secret@h/db?sslmode",
            "postgresql://app:secret@h/db?sslmode=a&sslmode=b",
            "postgresql://app:secret@h/host%3Dother",
        ] {
            let why = PgUri::parse(text).unwrap_err();
            assert!(!why.contains("secret"), "{text}: {why}");
        }
        assert!(PgUri::parse(&format!("postgresql://app@h/{}", "x".repeat(MAX))).is_err());
    }

    #[test]
    fn no_form_of_printing_shows_the_password() {
        let uri = PgUri::parse("postgresql://app:secret@h/db").unwrap();
        assert!(!format!("{uri} {uri:?} {uri:#?}").contains("secret"));
    }
}
