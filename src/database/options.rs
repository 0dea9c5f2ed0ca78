//! Which options an operator may give `pg_dump` besides ours. *Pure.*

use crate::error::{Error, Result};

/// What an operator's further options may not change: the way in, where the dump goes, how it is told to be whole and
/// compared after a restore, and what a role without rights could not load.
const OURS: [&str; 24] = [
    "--binary-upgrade",
    "--clean",
    "--compress",
    "--create",
    "--data-only",
    "--dbname",
    "--disable-triggers",
    "--enable-row-security",
    "--encoding",
    "--file",
    "--format",
    "--help",
    "--host",
    "--if-exists",
    "--jobs",
    "--load-via-partition-root",
    "--password",
    "--port",
    "--restrict-key",
    "--section",
    "--serializable-deferrable",
    "--snapshot",
    "--username",
    "--version",
];
const OURS_SHORT: &str = "CEFUVWZacdfhjp?";

/// Whether these are options that `pg_dump` may be given besides ours.
///
/// # Errors
/// `Usage` without the option's value, which may hold a password.
pub fn check(options: &[String]) -> Result<()> {
    for option in options {
        let name = option.split('=').next().unwrap_or_default();
        let wrong = |why| Err(Error::Usage(format!("--pg-option {} {why}", crate::text::Shown(name.as_bytes()))));
        if option.contains('\0') {
            return wrong("has a NUL");
        }
        match option.strip_prefix("--") {
            // getopt takes any beginning of a name for the whole.
            Some("") => return wrong("is no option"),
            Some(_) if OURS.iter().any(|ours| ours.starts_with(name)) => return wrong("is decided by the snapshot"),
            Some(_) => {}
            None => match option.strip_prefix('-').and_then(|short| short.chars().next()) {
                None => return Err(Error::Usage("--pg-option takes an option and its value as one: -Tlog".to_owned())),
                Some(short) if OURS_SHORT.contains(short) => {
                    return Err(Error::Usage(format!("--pg-option -{short} is decided by the snapshot")));
                }
                Some(_) => {}
            },
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_options_that_leave_the_dump_a_dump() {
        let check = |option: &str| check(&[option.to_owned()]);
        for good in ["--exclude-table-data=log", "-Tlog", "--verbose", "--schema=public", "--no-comments"] {
            assert!(check(good).is_ok(), "{good}");
        }
        for bad in [
            "--file=/etc/passwd",
            "--fil=x",
            "-f/etc/passwd",
            "--dbname=postgresql://app:secret@h/d",
            "-dpostgresql://app:secret@h/d",
            "secret",
            "--",
            "-",
            "-Fc",
            "--create",
            "--encoding=SJIS",
            "-ESJIS",
            "--snap=x",
            "--disable-triggers",
        ] {
            let error = check(bad).unwrap_err();
            assert_eq!(error.exit_code(), 64, "{bad}");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }
}
