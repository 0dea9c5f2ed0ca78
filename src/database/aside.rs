//! A database beside the real one, and a role without rights that owns it and loads a dump into it. What is in the dump runs as that
//! role alone; the superuser makes and removes the two, and looks at nothing in it but catalogs and rows.
//!
//! What a cut leaves, and the next load or drill removes (`server::sweep`): `toolmaster_load_…` or `toolmaster_drill_…`, a database
//! and a role of one name; after the exchange of names `toolmaster_old_…`, the empty database that had the name before. Both names
//! change in one transaction.

use log::warn;

use super::client::Client;
use super::counts::is_empty;
use super::server::{DRILL, LIMIT, LOAD, OLD, OURS, drop_database};
use super::sql::{identifier, literal};
use crate::error::{Error, Result};
use crate::os::random;
use crate::settings::pg_uri::PgUri;

/// An application may come back between the end of its sessions and the exchange of names.
const ATTEMPTS: u32 = 5;

/// What it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It takes the real one's place.
    Load,
    /// It is looked at and dropped.
    Drill,
}

/// The database, the role, and what else goes with a load that fails.
pub struct Aside {
    server: PgUri,
    target: PgUri,
    name: String,
    password: String,
    owner: String,
    roles: Vec<String>,
    there: bool,
}

/// What a database is made like.
#[derive(serde::Deserialize)]
struct Form(bool, String, String, String, String, Option<String>, Option<String>);

impl Aside {
    /// Makes both: the database in the form of the real one.
    ///
    /// # Errors
    /// `Config` if the user is no superuser, `Failed`.
    pub fn make(target: &PgUri, server: &PgUri, kind: Kind) -> Result<Aside> {
        let client = Client::psql(server)?;
        let form = client.ask(&format!(
            "SELECT json_build_array((SELECT rolsuper FROM pg_roles WHERE rolname = current_user), \
            pg_get_userbyid(d.datdba), pg_encoding_to_char(d.encoding), d.datcollate, d.datctype, \
            to_jsonb(d) ->> 'datlocprovider', coalesce(to_jsonb(d) ->> 'datlocale', to_jsonb(d) ->> 'daticulocale')) \
            FROM pg_database d WHERE d.datname = {};",
            literal(target.database())
        ))?;
        let form = form.first().and_then(|line| serde_json::from_str::<Form>(line).ok());
        let Form(superuser, owner, encoding, collate, ctype, provider, locale) = form.ok_or_else(|| Error::Failed {
            why: format!("there is no database {target}"),
            next: "correct the database (.env or PG_URI) and run it again",
        })?;
        if !superuser {
            return Err(Error::Config {
                why: format!(
                    "the user {} is no superuser: a dump is loaded by a role without rights, which only a superuser can make and give a database",
                    server.user()
                ),
                next: "name a superuser in PG_URI or --pg-uri, such as POSTGRES_USER of the container",
            });
        }
        let kind = if kind == Kind::Load { LOAD } else { DRILL };
        let name = format!("{kind}{}", random::word()?);
        // From here on they may be there, whatever the answer says.
        let aside = Aside {
            server: server.clone(),
            target: target.clone(),
            name,
            password: random::id()?,
            owner,
            roles: Vec::new(),
            there: true,
        };
        let place = match (provider.as_deref(), locale) {
            (Some("i"), Some(locale)) => format!("LOCALE_PROVIDER icu ICU_LOCALE {}", literal(&locale)),
            (Some("b"), Some(locale)) => format!("LOCALE_PROVIDER builtin BUILTIN_LOCALE {}", literal(&locale)),
            (Some(_), _) => "LOCALE_PROVIDER libc".to_owned(),
            (None, _) => String::new(),
        };
        let Aside { name, password, .. } = &aside;
        // The password must not reach the server's log. A dump may give the role another one: it still is in one place at a time.
        client.ask(&format!(
            "SET log_statement = none; SET log_min_duration_statement = -1; SET log_min_error_statement = panic;\n\
            CREATE ROLE {name} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS CONNECTION LIMIT 1 PASSWORD {};\n\
            CREATE DATABASE {name} OWNER {name} TEMPLATE template0 ENCODING {} LC_COLLATE {} LC_CTYPE {} {place};\n",
            literal(password),
            literal(&encoding),
            literal(&collate),
            literal(&ctype),
        ))?;
        Ok(aside)
    }

    /// The way in for the superuser.
    pub fn uri(&self) -> PgUri {
        self.server.with_database(&self.name)
    }

    /// The way in for the role without rights.
    pub fn login(&self) -> PgUri {
        self.uri().with_login(&self.name, &self.password)
    }

    /// The role without rights.
    pub fn role(&self) -> &str {
        &self.name
    }

    /// The server that both are on.
    pub fn server(&self) -> &PgUri {
        &self.server
    }

    /// The roles that were made for it.
    pub fn roles(&self) -> &[String] {
        &self.roles
    }

    /// Makes roles without rights that are missing, and cannot log in.
    ///
    /// # Errors
    /// `Failed`.
    pub fn make_roles(&mut self, names: &[String]) -> Result<()> {
        let client = Client::psql(&self.server)?;
        let there = client.ask("SELECT rolname FROM pg_roles;")?;
        for name in names {
            let usable = name.len() <= 63 && !matches!(name.as_str(), "public" | "none") && !name.starts_with(OURS);
            if usable && !there.contains(name) && !self.roles.contains(name) {
                self.roles.push(name.clone());
                client.ask(&format!("CREATE ROLE {} NOLOGIN;", identifier(name)))?;
            }
        }
        Ok(())
    }

    /// Ends what the role could still do, and what the dump set for the database itself: it would hold for whoever enters, a superuser too,
    /// whose words a `search_path` can make others'. Before that nobody but the role has been in it since.
    ///
    /// # Errors
    /// `Failed`.
    pub fn close(&self) -> Result<()> {
        let (name, word) = (identifier(&self.name), literal(&self.name));
        Client::psql(&self.server)?.tell(&format!(
            "ALTER ROLE {name} NOLOGIN;\nSELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = {word};\n\
            ALTER DATABASE {name} RESET ALL;\n\
            ALTER DATABASE {name} WITH ALLOW_CONNECTIONS true CONNECTION LIMIT -1 IS_TEMPLATE false;\n\
            DELETE FROM pg_db_role_setting WHERE setdatabase = (SELECT oid FROM pg_database WHERE datname = {word});\n\
            UPDATE pg_database SET datacl = NULL WHERE datname = {word};\n"
        ))
    }

    /// Gives all that was loaded to the real database's owner, and removes the role. Tables one by one: their locks together are
    /// more than the server may have. Nothing of what a dump brings runs at that.
    ///
    /// # Errors
    /// `Failed`.
    pub fn give(&self) -> Result<()> {
        let (role, owner) = (identifier(&self.name), identifier(&self.owner));
        Client::psql(&self.uri())?.ask_within(
            &format!(
                "SELECT format('ALTER TABLE %I.%I OWNER TO %I', n.nspname, c.relname, {}) FROM pg_class c \
                JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relowner = {}::regrole \
                AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND NOT (c.relkind = 'S' AND EXISTS (SELECT FROM pg_depend d \
                WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype IN ('a', 'i') \
                AND d.refclassid = 'pg_class'::regclass)) \\gexec\n\
                REASSIGN OWNED BY {role} TO {owner};\nDROP OWNED BY {role};\n",
                literal(&self.owner),
                literal(&role),
            ),
            LIMIT,
        )?;
        Client::psql(&self.server)?.tell(&format!("ALTER DATABASE {role} OWNER TO {owner}; DROP ROLE {role};"))
    }

    /// Takes the real database's name, with what was set and granted for that. The real one, still empty, is dropped. `mark` is kept
    /// as the database's comment.
    ///
    /// # Errors
    /// `Refused` if the real one has come to hold data, `Failed`.
    pub fn take_place(mut self, mark: &str) -> Result<()> {
        let client = Client::psql(&self.server)?;
        if let Err(error) = client.ask(&self.settings()) {
            warn!("not all that was set for the database {} stays: {error}", self.target.database());
        }
        let old = format!("{OLD}{}", random::word()?);
        let (real, own) = (self.target.database(), &self.name);
        let exchange = format!(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname IN ({}, {});\n\
            BEGIN;\nALTER DATABASE {} RENAME TO {old};\nALTER DATABASE {own} RENAME TO {};\nCOMMENT ON DATABASE {} IS {};\nCOMMIT;\n",
            literal(real),
            literal(own),
            identifier(real),
            identifier(real),
            identifier(real),
            literal(mark),
        );
        for attempt in 1.. {
            if !is_empty(&self.target)? {
                return Err(Error::Refused {
                    why: format!(
                        "the database {real} has come to hold data while the dump was loaded: it was left as it is"
                    ),
                    next: "stop what writes there, and name an empty database".to_owned(),
                });
            }
            match client.ask(&exchange) {
                Ok(_) => break,
                Err(error) if attempt < ATTEMPTS && error.to_string().contains("accessed by other users") => {}
                Err(error) => return Err(error),
            }
        }
        self.there = false;
        if is_empty(&self.server.with_database(&old))? {
            return drop_database(&self.server, &old);
        }
        warn!("something was written into the database {real} in the last moment: it is kept as {old}");
        Ok(())
    }

    /// What was set for the real database, or granted, is set for this one too. A value is taken over as it stands: `FROM CURRENT`.
    fn settings(&self) -> String {
        let (real, own) = (literal(self.target.database()), literal(&self.name));
        format!(
            "SELECT format('REVOKE ALL ON DATABASE %I FROM PUBLIC', {own}) FROM pg_database \
            WHERE datname = {real} AND datacl IS NOT NULL \\gexec\n\
            SELECT format('GRANT %s ON DATABASE %I TO %s', a.privilege_type, {own}, CASE WHEN a.grantee = 0 THEN 'PUBLIC' \
            ELSE quote_ident(pg_get_userbyid(a.grantee)) END) FROM pg_database d, aclexplode(d.datacl) a \
            WHERE d.datname = {real} AND a.grantee <> d.datdba \\gexec\n\
            SELECT format('ALTER DATABASE %I CONNECTION LIMIT %s', {own}, datconnlimit) FROM pg_database WHERE datname = {real} \\gexec\n\
            SELECT 'BEGIN', format('SELECT set_config(%L, %L, true)', s.name, s.value), format('ALTER %s SET %s FROM CURRENT', \
            CASE WHEN s.setrole = 0 THEN format('DATABASE %I', {own}) \
            ELSE format('ROLE %I IN DATABASE %I', pg_get_userbyid(s.setrole), {own}) END, s.name), 'COMMIT' \
            FROM (SELECT p.setrole, split_part(c, '=', 1) AS name, substr(c, strpos(c, '=') + 1) AS value \
            FROM pg_db_role_setting p, unnest(p.setconfig) c WHERE p.setdatabase = (SELECT oid FROM pg_database \
            WHERE datname = {real})) s WHERE s.name ~ '^[A-Za-z0-9_.]+$' AND s.name NOT IN ('role', 'session_authorization') \\gexec\n"
        )
    }

    /// Drops both, and the roles that were made for it.
    ///
    /// # Errors
    /// `Failed`.
    pub fn end(mut self) -> Result<()> {
        self.remove()
    }

    fn remove(&mut self) -> Result<()> {
        if !std::mem::replace(&mut self.there, false) {
            return Ok(());
        }
        drop_database(&self.server, &self.name)?;
        let roles = std::iter::once(&self.name).chain(&self.roles);
        let text: String = roles.map(|role| format!("DROP ROLE IF EXISTS {};\n", identifier(role))).collect();
        Client::psql(&self.server)?.tell(&format!("SET client_min_messages = error;\n{text}"))
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        if let Err(error) = self.remove() {
            warn!("{error}");
        }
    }
}
