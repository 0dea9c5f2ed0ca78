//! The `.env` file that Compose reads too, as far as it is unambiguous: `NAME=value`, comments, quotes. *Pure.*
//! What two readers might understand differently (`$`, `export`, escapes, a value over several lines) is an error.

/// No `.env` that people write is larger.
pub const MAX: usize = 64 * 1024;

/// The variables of a file, in its order.
///
/// # Errors
/// What is wrong, and in which line; never the line's text, which may hold a password.
pub fn parse(bytes: &[u8]) -> Result<Vec<(String, String)>, String> {
    if bytes.len() > MAX {
        return Err(format!("it is larger than {} KiB", MAX / 1024));
    }
    let text = std::str::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut found: Vec<(String, String)> = Vec::new();
    for (index, line) in text.split('\n').enumerate() {
        let line = line.strip_suffix('\r').unwrap_or(line).trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, value) = pair(line).map_err(|why| format!("line {}: {why}", index + 1))?;
        if found.iter().any(|(other, _)| other == name) {
            return Err(format!("line {}: {name} is there twice", index + 1));
        }
        found.push((name.to_owned(), value.to_owned()));
    }
    Ok(found)
}

fn pair(line: &str) -> Result<(&str, &str), &'static str> {
    let (name, value) = line.split_once('=').ok_or("it is not NAME=value")?;
    let begins = name.bytes().next().is_some_and(|c| c.is_ascii_alphabetic() || c == b'_');
    if !begins || !name.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_') {
        return Err("what is before \"=\" is no name");
    }
    let value = value.trim_start();
    let value = match value.chars().next() {
        Some(quote @ ('"' | '\'')) => quoted(&value[1..], quote)?,
        _ => plain(value)?,
    };
    if value.chars().any(char::is_control) {
        return Err("the value has a control character");
    }
    Ok((name, value))
}

/// The text with that value: in the setting's line or its comment's place, else in a line more. A value with blanks is quoted;
/// quotes, `$` and `\` it has none.
pub fn with(text: &str, name: &str, value: &str) -> String {
    let is_it = |line: &str| line.trim_start_matches('#').split_once('=').is_some_and(|(key, _)| key.trim() == name);
    let quote = if value.contains([' ', '#']) { "\"" } else { "" };
    let line = format!("{name}={quote}{value}{quote}");
    let mut lines: Vec<&str> = text.lines().collect();
    let last = lines.iter().rposition(|line| is_it(line));
    match last.and_then(|last| lines.get_mut(last)) {
        Some(place) => *place = &line,
        None => lines.push(&line),
    }
    lines.join("\n") + "\n"
}

/// Up to the closing quote; behind it a comment at most.
fn quoted(rest: &str, quote: char) -> Result<&str, &'static str> {
    let (value, behind) = rest.split_once(quote).ok_or("the closing quote is missing")?;
    let behind = behind.trim_start();
    if !behind.is_empty() && !behind.starts_with('#') {
        return Err("something stands behind the closing quote");
    }
    if quote == '"' && value.contains(['$', '\\', '`']) {
        return Err("\"$\", \"\\\" and \"`\" need single quotes");
    }
    Ok(value)
}

/// Up to a comment, which a blank goes before.
fn plain(value: &str) -> Result<&str, &'static str> {
    let end = value.char_indices().find(|&(at, c)| c == '#' && value[..at].ends_with([' ', '\t']));
    let value = if value.starts_with('#') { "" } else { end.map_or(value, |(at, _)| &value[..at]).trim_end() };
    if value.contains(['"', '\'', '$', '\\', '`']) {
        return Err("quotes, \"$\", \"\\\" and \"`\" need single quotes around the value");
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Option<String> {
        parse(text.as_bytes()).ok().and_then(|pairs| pairs.into_iter().next()).map(|(_, value)| value)
    }

    #[test]
    fn what_people_write() {
        let text = "\u{feff}# 設定\r\nPOSTGRES_USER=app\r\n\r\n  POSTGRES_DB = x\r\n";
        assert!(parse(text.as_bytes()).is_err(), "a blank before \"=\" is no name");
        let text = "\u{feff}# 設定\r\nPOSTGRES_USER=app\r\n\r\n  POSTGRES_DB='sensor db' # the site's\r\nEMPTY=\r\n";
        let pairs = parse(text.as_bytes()).unwrap();
        assert_eq!(pairs[0], ("POSTGRES_USER".to_owned(), "app".to_owned()));
        assert_eq!(pairs[1], ("POSTGRES_DB".to_owned(), "sensor db".to_owned()));
        assert_eq!(pairs[2].1, "");
    }

    #[test]
    fn values() {
        for (text, value) in [
            ("A=b c", Some("b c")),
            ("A=b#c", Some("b#c")),
            ("A=b #c", Some("b")),
            ("A=#c", Some("")),
            ("A= \"b # c\" ", Some("b # c")),
            ("A='$x\\'", Some("$x\\")),
            ("A=工具", Some("工具")),
            ("A=\"b", None),
            ("A='b'c", None),
            ("A=$B", None),
            ("A=\"$B\"", None),
            ("A=b'c", None),
            ("export A=b", None),
            ("1A=b", None),
            ("A", None),
            ("A=b\u{1}c", None),
            ("A=1\nA=2", None),
        ] {
            assert_eq!(one(text).as_deref(), value, "{text:?}");
        }
        assert!(parse(&[b'A', b'=', 0xff]).is_err());
        assert!(parse(&vec![b'\n'; MAX + 1]).is_err());
    }

    #[test]
    fn a_setting_replaces_its_line_or_its_comment() {
        let text = "# words\n#BACKUP_RETENTION=4\nX=1\n";
        assert_eq!(with(text, "BACKUP_RETENTION", "9"), "# words\nBACKUP_RETENTION=9\nX=1\n");
        assert_eq!(with("A=1", "BACKUP_RETENTION", "0"), "A=1\nBACKUP_RETENTION=0\n");
        assert_eq!(with("", "BACKUP_RETENTION", "1"), "BACKUP_RETENTION=1\n");
        assert_eq!(with("#LED_NAMES=\"ACT PWR\"\n", "LED_NAMES", "A B"), "LED_NAMES=\"A B\"\n");
    }

    #[test]
    fn an_error_never_shows_the_line() {
        assert!(!parse(b"POSTGRES_PASSWORD='secret").unwrap_err().contains("secret"));
    }
}
