//! The roles that a dump's server had, from the text that `pg_dumpall` wrote. It may come from a stick, so it is never run: here
//! names are read from it, and roles of these names are made without any right. *Pure.*

use std::io::{BufRead, BufReader, Read};

use super::entries::unquoted;

/// So many roles are made at most, and no line that makes one is longer.
const MOST: usize = 1000;
const LONGEST: u64 = 1024;

/// The names in its `CREATE ROLE name;` lines.
///
/// # Errors
/// Of the reader.
pub fn names(globals: impl Read) -> std::io::Result<Vec<String>> {
    let (mut globals, mut names, mut line) = (BufReader::new(globals), Vec::new(), Vec::new());
    while names.len() < MOST {
        line.clear();
        if (&mut globals).take(LONGEST).read_until(b'\n', &mut line)? == 0 {
            break;
        }
        let text = std::str::from_utf8(&line).unwrap_or_default();
        let name = text.strip_prefix("CREATE ROLE ").and_then(|rest| rest.strip_suffix(";\n")).map(unquoted);
        names.extend(name.filter(|name| !name.is_empty() && !name.starts_with("pg_") && !name.contains('\0')));
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_nothing_else() {
        let text = "CREATE ROLE app;\nALTER ROLE app WITH SUPERUSER;\nCREATE ROLE \"a \"\"b;\";\nCREATE ROLE pg_x;\nCREATE ROLE cut";
        assert_eq!(names(text.as_bytes()).unwrap(), ["app", "a \"b;"]);
        assert_eq!(names("CREATE ROLE r;\n".repeat(5000).as_bytes()).unwrap().len(), MOST);
    }
}
