//! *Pure.* Takes passwords out of the text of settings, whatever their format (`NAME=value`, JSON, YAML, addresses), so that the text goes where
//! others may read it: the name stays, the value goes.

/// A name that ends so has a secret for its value, in any case.
const NAMES: [&str; 12] = [
    "password",
    "passwd",
    "passphrase",
    "pwd",
    "secret",
    "token",
    "apikey",
    "api_key",
    "api-key",
    "private_key",
    "credential",
    "credentials",
];
/// What stands before a secret in a line of a program.
const WORDS: [&str; 2] = ["bearer ", "basic "];

/// Whether what has that name is a secret.
pub fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    NAMES.iter().any(|secret| name.ends_with(secret))
}

/// The text without secrets.
pub fn blanked(text: &str) -> String {
    text.split_inclusive('\n').map(|line| words(&values(&addresses(line)))).collect()
}

/// Takes the password out of each `scheme://user:password@host`.
fn addresses(line: &str) -> String {
    let mut done = String::new();
    let mut rest = line;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        done.push_str(before);
        let end =
            after.find(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '`' | '<' | '>')).unwrap_or(after.len());
        let (address, behind) = after.split_at(end);
        done.push_str(&without_password(address));
        rest = behind;
    }
    done.push_str(rest);
    done
}

fn without_password(address: &str) -> String {
    let authority = address.split(['/', '?', '#']).next().unwrap_or(address);
    let is_port = |text: &str| text.split_once(':').is_some_and(|(_, port)| port.bytes().all(|c| c.is_ascii_digit()));
    // Somebody may have left a slash in a password as it is.
    let place = if authority.contains('@') || !is_port(authority) {
        address.rfind('@').filter(|_| address.contains(':'))
    } else {
        None
    };
    let Some((user, host)) = place.map(|at| address.split_at(at)) else { return address.to_owned() };
    match user.split_once(':') {
        Some((user, _)) => format!("{user}{host}"),
        None => address.to_owned(),
    }
}

/// Takes the value out of each `name=value`, `name: value`, `"name": "value"` whose name is that of a secret.
fn values(line: &str) -> String {
    let lower = line.to_ascii_lowercase();
    let mut done = String::new();
    let mut from = 0;
    while let Some((begin, end)) = next_value(line, &lower, from) {
        done.push_str(line.get(from..begin).unwrap_or_default());
        from = end;
    }
    done.push_str(line.get(from..).unwrap_or_default());
    done
}

/// Where the next secret value begins and ends.
fn next_value(line: &str, lower: &str, from: usize) -> Option<(usize, usize)> {
    let names = NAMES.iter().flat_map(|name| lower.match_indices(name).map(|(at, name)| at + name.len()));
    let mut ends: Vec<usize> = names.filter(|end| *end >= from).collect();
    ends.sort_unstable();
    ends.into_iter().find_map(|end| {
        let behind = line.get(end..)?;
        let quote = behind.chars().next().filter(|c| matches!(c, '"' | '\''));
        let behind = behind.trim_start_matches(['"', '\'']).trim_start_matches([' ', '\t']);
        let value = behind.strip_prefix(['=', ':'])?;
        let value = value.trim_start_matches([' ', '\t']);
        let begin = line.len() - value.len();
        let length = length(value, quote.is_some());
        // What is only referred to is no secret.
        let is_reference = value.get(..length).is_some_and(|value| {
            let name = value.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
            name.is_some_and(|name| name.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_'))
        });
        let quoted = usize::from(value.starts_with(['"', '\'']));
        (length > 0 && !is_reference).then_some((begin + quoted, begin + quoted + length))
    })
}

/// How long a value is, without the quotes around it.
fn length(value: &str, in_json: bool) -> usize {
    if let Some(quote @ ('"' | '\'')) = value.chars().next() {
        let inner = value.get(1..).unwrap_or_default();
        let mut escaped = false;
        for (at, c) in inner.char_indices() {
            match c {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                c if c == quote => return at,
                _ => {}
            }
        }
        return inner.trim_end().len();
    }
    // In an address `&` ends it, in a list `,` and the brackets; in a line of settings only its end does, since a value may have blanks.
    let ends: &[char] = if in_json { &[',', '}', ']'] } else { &['&', '"', '\''] };
    value.find(|c: char| ends.contains(&c) || c == '\n' || c == '\r').unwrap_or(value.len())
}

/// Takes out what follows `Bearer` and its like.
fn words(line: &str) -> String {
    let mut done = line.to_owned();
    for word in WORDS {
        let found = done.to_ascii_lowercase().find(word).map(|at| at + word.len());
        if let Some(begin) = found {
            let rest = done.get(begin..).unwrap_or_default();
            let length = rest.find(|c: char| c.is_whitespace() || matches!(c, '"' | '\'')).unwrap_or(rest.len());
            done.replace_range(begin..begin + length, "");
        }
    }
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_secret_goes_and_the_rest_stays() {
        for (text, left) in [
            ("PG_URI=postgresql://app:hunter2@127.0.0.1/x\n", "PG_URI=postgresql://app@127.0.0.1/x\n"),
            ("a postgres://u:p@h/d and http://x:y@z/?q\n", "a postgres://u@h/d and http://x@z/?q\n"),
            (
                "\"primary_db_uri\": \"postgresql://u:a/b@h:5432/d\",",
                "\"primary_db_uri\": \"postgresql://u@h:5432/d\",",
            ),
            ("\"db\": \"host=h password=hunter2\",", "\"db\": \"host=h password=\","),
            ("postgresql://u@h/d?password=hunter2&sslmode=require", "postgresql://u@h/d?password=&sslmode=require"),
            ("POSTGRES_PASSWORD=hunter 2\nPOSTGRES_DB=x\n", "POSTGRES_PASSWORD=\nPOSTGRES_DB=x\n"),
            ("POSTGRES_PASSWORD=\"hunter2\"\r\n", "POSTGRES_PASSWORD=\"\"\r\n"),
            ("      POSTGRES_PASSWORD: hunter2\n", "      POSTGRES_PASSWORD: \n"),
            ("environment: [\"POSTGRES_PASSWORD=hunter2\", \"A=b\"]", "environment: [\"POSTGRES_PASSWORD=\", \"A=b\"]"),
            ("{\"api_token\": \"hun\\\"ter2\", \"n\": 1}", "{\"api_token\": \"\", \"n\": 1}"),
            ("curl -H \"Authorization: Bearer hunter2\" x", "curl -H \"Authorization: Bearer \" x"),
            ("PASSWORD=${OTHER:-hunter2}", "PASSWORD="),
        ] {
            assert_eq!(blanked(text), left, "{text}");
        }
    }

    #[test]
    fn what_is_no_secret_stays_to_the_letter() {
        for text in [
            "      POSTGRES_PASSWORD_FILE: /run/secrets/postgres-password\n",
            "POSTGRES_PASSWORD: ${POSTGRES_PASSWORD}\n",
            "secrets: [postgres-password]\n",
            "\"mirror_endpoint\": \"http://new-server.local:8501/api/v1/scans\",\n",
            "image: registry.local:5000/postgres:17@sha256:abc\nurl: http://h:80/a@b\n",
            "secrets:\n  postgres-password:\n    file: /etc/toolmaster/postgres-password\n",
            "# パスワードは別の場所\n",
        ] {
            assert_eq!(blanked(text), text);
        }
        let sample = include_str!("../../config/docker-compose.yml");
        assert_eq!(blanked(sample), sample);
    }
}
