//! What was set for a database and for roles comes back with a dump, by statements of our own. The values are from a stick, so only what
//! any user may set for himself is taken, and a role that was here before keeps what it has.

use log::warn;

use super::aside::Aside;
use super::client::Client;
use super::sql::{identifier, literal};
use crate::error::Result;
use crate::text::Shown;
use crate::tree::manifest::counts::Setting;

/// These would make the session another's, or load code.
const NEVER: [&str; 3] = ["local_preload_libraries", "role", "session_authorization"];
/// Settings of languages and extensions may run code, and are not known for that until they are loaded.
const CODE: [&str; 3] = ["pl", "pg", "auto_explain"];

/// Sets for the database aside, and for roles that were made for it, what was set where the dump is from. What can't be set is
/// named; it fails nothing.
pub fn bring_back(aside: &Aside, settings: &[Setting]) {
    if settings.is_empty() {
        return;
    }
    let left = match set(aside, settings) {
        Ok(left) => left,
        Err(error) => {
            warn!("what was set for the database and its roles does not come back: {error}");
            return;
        }
    };
    if !left.is_empty() {
        warn!("set it by hand if it is still wanted: {}", left.join(", "));
    }
}

/// Which of them were not taken.
fn set(aside: &Aside, settings: &[Setting]) -> Result<Vec<String>> {
    let client = Client::psql(aside.server())?;
    let free = client.ask("SELECT name FROM pg_settings WHERE context = 'user';")?;
    let mut left = Vec::new();
    for setting in settings {
        let ours = setting.role.as_ref().is_none_or(|role| aside.roles().contains(role));
        let harmless = is_harmless(&setting.name, &free) && !hides_the_systems_own(setting);
        let taken = ours && harmless && client.ask(&statement(setting, aside.role())).is_ok();
        if !taken {
            left.push(shown(setting));
        }
    }
    Ok(left)
}

fn is_harmless(name: &str, free: &[String]) -> bool {
    let plain =
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.'));
    let known = free.iter().any(|known| known == name);
    let of_an_application = name.contains('.') && !CODE.iter().any(|prefix| name.starts_with(prefix));
    plain && !NEVER.contains(&name) && (known || of_an_application)
}

/// A path that names the system's own functions after others makes `now()` somebody else's, for a superuser too.
fn hides_the_systems_own(setting: &Setting) -> bool {
    setting.name.eq_ignore_ascii_case("search_path") && setting.value.to_ascii_lowercase().contains("pg_")
}

/// `FROM CURRENT` takes a value over as it stands: a list stays one.
fn statement(setting: &Setting, database: &str) -> String {
    let Setting { role, here, name, value } = setting;
    let whose = match (role, here) {
        (None, _) => format!("DATABASE {}", identifier(database)),
        (Some(role), false) => format!("ROLE {}", identifier(role)),
        (Some(role), true) => format!("ROLE {} IN DATABASE {}", identifier(role), identifier(database)),
    };
    let name_written = name.split('.').map(identifier).collect::<Vec<_>>().join(".");
    format!(
        "BEGIN;\nSELECT set_config({}, {}, true);\nALTER {whose} SET {name_written} FROM CURRENT;\nCOMMIT;\n",
        literal(name),
        literal(value),
    )
}

fn shown(setting: &Setting) -> String {
    let Setting { role, name, value, .. } = setting;
    let whose = role.as_ref().map_or("database".to_owned(), |role| format!("role {}", Shown(role.as_bytes())));
    format!("{whose}: {} = {}", Shown(name.as_bytes()), Shown(value.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_any_user_may_set() {
        let free = ["work_mem", "role", "local_preload_libraries"].map(str::to_owned);
        assert!(is_harmless("work_mem", &free) && is_harmless("factory.line", &free));
        for name in
            ["session_preload_libraries", "role", "local_preload_libraries", "plperl.on_init", "a\"; x", "a; b.c", ""]
        {
            assert!(!is_harmless(name, &free), "{name}");
        }
    }

    #[test]
    fn no_path_puts_others_before_the_system() {
        let path =
            |value: &str| Setting { role: None, here: true, name: "Search_Path".to_owned(), value: value.to_owned() };
        assert!(!hides_the_systems_own(&path("app, public")));
        assert!(hides_the_systems_own(&path("public, PG_CATALOG")) && hides_the_systems_own(&path("pg_temp")));
    }

    #[test]
    fn values_are_no_statements() {
        let setting = |role: Option<&str>, here| Setting {
            role: role.map(str::to_owned),
            here,
            name: "a.b".to_owned(),
            value: "x'; DROP".to_owned(),
        };
        assert_eq!(
            statement(&setting(None, true), "d"),
            "BEGIN;\nSELECT set_config('a.b', 'x''; DROP', true);\nALTER DATABASE \"d\" SET \"a\".\"b\" FROM CURRENT;\nCOMMIT;\n"
        );
        assert!(statement(&setting(Some("r\"x"), true), "d").contains("ALTER ROLE \"r\"\"x\" IN DATABASE \"d\" SET"));
        assert!(statement(&setting(Some("r"), false), "d").contains("ALTER ROLE \"r\" SET"));
    }
}
