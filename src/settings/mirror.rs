//! mirrorctl's `config.json` (SPEC 9). *Pure.* Whatever a program is given from it is checked here: no host, user or unit
//! name can be taken for an option or hold a line break.

use std::path::PathBuf;

use super::json::{self, Object};
use super::pg_uri::PgUri;
use crate::error::{Error, Result};

/// No configuration that people write is larger, bytes.
pub const MAX: usize = 64 * 1024;

const NEXT: &str = "設定ファイルを直す(見本: config/mirrorctl-config.sample.json)";

/// What the mirror's commands need to know.
pub struct Mirror {
    file: Read,
    /// The Pi Zero's own configuration file, an absolute path.
    pub config_path: String,
    /// Its service, restarted after a change.
    pub pi_zero_service: String,
    /// Where it sends its requests in any case; none if the site does not say.
    pub primary_endpoint: Option<String>,
    /// The timer of the comparison.
    pub timer: String,
    /// Its service.
    pub service: String,
    /// Locks and, where nothing else is said, the OK counter.
    pub status_dir: PathBuf,
    /// `mirror_*.log`; none if they are where the other logs are.
    pub log_dir: Option<PathBuf>,
    /// The OK counter's file.
    pub ok_counter_file: PathBuf,
    /// How long compressed logs are kept.
    pub log_retention_days: u32,
}

/// A login by ssh.
pub struct Login {
    /// The host's name, address or alias of ssh's own configuration.
    pub host: String,
    /// The user.
    pub user: String,
}

impl Mirror {
    /// Reads the file's text. What a command may do without (a login, the databases) is asked for where it is used.
    ///
    /// # Errors
    /// `Config` without any value, which may be a password.
    pub fn parse(text: &[u8], path: &str) -> Result<Mirror> {
        let wrong = |why: String| Error::Config { why: format!("設定ファイル {path}: {why}"), next: NEXT };
        let text = std::str::from_utf8(text).map_err(|_| wrong("UTF-8 ではありません".to_owned()))?;
        let Object(members) = Object::parse(text).map_err(wrong)?;
        let members = members.into_iter().map(|(key, value)| (key, value.to_owned())).collect();
        let file = Read { members, path: path.to_owned() };
        let path_of = |name, default: &str| file.text(name, Some(default), is_path).map(PathBuf::from);
        let status_dir = path_of("status_dir", "/var/lib/mirror")?;
        let counter = status_dir.join("ok_counter");
        Ok(Mirror {
            config_path: file.text("config_path", Some("/etc/onsitelogistics/config.json"), is_path)?,
            pi_zero_service: file.text("pi_zero_service", Some("onsite-handheld.service"), is_unit)?,
            primary_endpoint: Some(file.text("primary_endpoint", Some(""), is_plain)?).filter(|text| !text.is_empty()),
            timer: file.text("mirror_timer", Some("mirror-compare.timer"), is_unit)?,
            service: file.text("mirror_service", Some("mirror-compare.service"), is_unit)?,
            log_dir: file.get("log_dir").map(|_| path_of("log_dir", "")).transpose()?,
            ok_counter_file: path_of("ok_counter_file", &counter.to_string_lossy())?,
            log_retention_days: file.days()?,
            status_dir,
            file,
        })
    }

    /// How to log in to the Pi Zero.
    ///
    /// # Errors
    /// `Config`.
    pub fn login(&self) -> Result<Login> {
        let host = self.file.text("pi_zero_host", None, is_word)?;
        Ok(Login { host, user: self.file.text("ssh_user", Some("pi"), is_word)? })
    }

    /// Where the Pi Zero mirrors its requests to.
    ///
    /// # Errors
    /// `Config`.
    pub fn mirror_endpoint(&self) -> Result<String> {
        self.file.text("mirror_endpoint", None, |text| is_plain(text) && !text.is_empty())
    }

    /// Both databases, primary first.
    ///
    /// # Errors
    /// `Config`.
    pub fn databases(&self) -> Result<[PgUri; 2]> {
        Ok([self.file.database("primary_db_uri")?, self.file.database("mirror_db_uri")?])
    }
}

/// The file's object.
struct Read {
    members: Vec<(String, String)>,
    path: String,
}

impl Read {
    /// A value as it is written.
    fn get(&self, name: &str) -> Option<&str> {
        self.members.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    fn wrong(&self, name: &str, why: &str) -> Error {
        Error::Config { why: format!("設定ファイル {}: {name} {why}", self.path), next: NEXT }
    }

    /// A text of which `fits` holds; without a default it must be there.
    fn text(&self, name: &str, default: Option<&str>, fits: fn(&str) -> bool) -> Result<String> {
        match self.get(name) {
            Some(value) => {
                json::text(value).filter(|text| fits(text)).ok_or_else(|| self.wrong(name, "の値が正しくありません"))
            }
            None => default.map(str::to_owned).ok_or_else(|| self.wrong(name, "がありません")),
        }
    }

    /// A connection that must be encrypted is refused rather than made without (SPEC 9).
    fn database(&self, name: &str) -> Result<PgUri> {
        let text = self.text(name, None, is_plain)?;
        let uri = PgUri::parse(&text).map_err(|why| self.wrong(name, &format!("を読めません: {why}")))?;
        match uri.parameter_value("sslmode") {
            Some("require" | "verify-ca" | "verify-full") => {
                Err(self.wrong(name, "の sslmode=require には対応していません(暗号化しない接続だけです)"))
            }
            _ => Ok(uri),
        }
    }

    fn days(&self) -> Result<u32> {
        let days = self.get("log_retention_days").map_or(Some(30), |value| value.parse().ok());
        days.filter(|days| (1..=36_500).contains(days))
            .ok_or_else(|| self.wrong("log_retention_days", "は 1 から 36500 の数です"))
    }
}

fn is_plain(text: &str) -> bool {
    !text.chars().any(char::is_control)
}

/// A host or a user: one word that ssh can't take for an option.
fn is_word(text: &str) -> bool {
    let plain = text.chars().all(|c| !c.is_control() && !c.is_whitespace() && !"'\"\\`$;&|<>(){}*?!#@/".contains(c));
    plain && !text.is_empty() && !text.starts_with('-') && text.len() <= 255
}

/// systemd.unit(5): the characters of a unit's name.
fn is_unit(text: &str) -> bool {
    let plain = text.bytes().all(|c| c.is_ascii_alphanumeric() || b":-_.\\@".contains(&c));
    plain && text.contains('.') && !text.starts_with('-') && text.len() <= 255
}

fn is_path(text: &str) -> bool {
    let dots = text.split('/').any(|part| part == "..");
    text.starts_with('/') && !text.ends_with('/') && !dots && is_plain(text) && text.len() <= 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Mirror> {
        Mirror::parse(text.as_bytes(), "/etc/mirrorctl/config.json")
    }

    #[test]
    fn defaults() {
        let mirror = parse(r#"{"pi_zero_host": "zero.local", "unknown": [1]}"#).unwrap();
        let login = mirror.login().unwrap();
        assert_eq!((login.host.as_str(), login.user.as_str()), ("zero.local", "pi"));
        assert_eq!(mirror.config_path, "/etc/onsitelogistics/config.json");
        assert_eq!(mirror.pi_zero_service, "onsite-handheld.service");
        assert_eq!(
            (mirror.timer.as_str(), mirror.service.as_str()),
            ("mirror-compare.timer", "mirror-compare.service")
        );
        assert_eq!(mirror.ok_counter_file, PathBuf::from("/var/lib/mirror/ok_counter"));
        assert!(mirror.mirror_endpoint().is_err() && mirror.databases().is_err());
        assert_eq!((mirror.log_dir, mirror.log_retention_days, mirror.primary_endpoint), (None, 30, None));
    }

    #[test]
    fn nonsense_is_a_configuration_error_that_names_the_key_and_no_value() {
        for (text, key) in [
            ("", "JSON"),
            ("[]", "JSON"),
            ("{\"a\": secret}", "JSON"),
            (r#"{"status_dir": "secret"}"#, "status_dir"),
            (r#"{"status_dir": "/a/../secret"}"#, "status_dir"),
            (r#"{"log_dir": "/secret\n"}"#, "log_dir"),
            (r#"{"config_path": "/secret/"}"#, "config_path"),
            (r#"{"config_path": 1}"#, "config_path"),
            (r#"{"pi_zero_service": "-secret.service"}"#, "pi_zero_service"),
            (r#"{"pi_zero_service": "secret; reboot.service"}"#, "pi_zero_service"),
            (r#"{"mirror_timer": "secret"}"#, "mirror_timer"),
            (r#"{"log_retention_days": 0}"#, "log_retention_days"),
            (r#"{"log_retention_days": "30"}"#, "log_retention_days"),
        ] {
            let error = parse(text).map(|_| ()).unwrap_err();
            assert_eq!(error.exit_code(), 78, "{text}");
            let said = error.to_string();
            assert!(said.contains(key) && !said.contains("secret"), "{text}: {said}");
        }
    }

    #[test]
    fn hosts_users_and_databases_are_checked_where_they_are_used() {
        for host in ["-oProxyCommand=secret", "a b", "a;b", "$(b)", "a'b", "", "a\\nb", "u@h"] {
            assert!(parse(&format!(r#"{{"pi_zero_host": "{host}"}}"#)).map_or(true, |m| m.login().is_err()), "{host}");
        }
        assert!(parse(r#"{"pi_zero_host": "fe80::1%eth0"}"#).unwrap().login().is_ok());
        for uri in
            ["secret", "postgresql://a:secret@h/d?sslmode=require", "postgresql://a:secret@h/d?sslmode=verify-ca"]
        {
            let text = format!(r#"{{"primary_db_uri": "{uri}", "mirror_db_uri": "postgresql://a:b@h/d"}}"#);
            let error = parse(&text).unwrap().databases().unwrap_err();
            assert!(error.exit_code() == 78 && !error.to_string().contains("secret"), "{error}");
        }
    }
}
