//! Command lines: the program's own are parsed by the program itself, others are looked through for units, paths and
//! packages.

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt;
use std::process::Command;

use toolmaster::NAMES;
use toolmaster::settings::pg_uri::PgUri;

use crate::common::call::BINARY;
use crate::facts::Facts;
use crate::files::in_repository;
use crate::{read, root};

/// Programs that are not ours, and the words that they may be given in a page beside paths: whoever writes another one
/// has looked at it and adds it here.
const OTHERS: &[(&str, &[&str])] = &[
    ("apt", &["install", "-y", "remove", "purge", "--no-install-recommends", "--allow-downgrades"]),
    ("bmaptool", &["copy", "toolmaster-virt.img.xz"]),
    ("cat", &[]),
    ("cd", &["~/RaspberryPiServer"]),
    ("chmod", &["600", "644", "755"]),
    ("cp", &["-p", "--update=none", ".env.example", ".env"]),
    ("dd", &["of=/dev/sdX", "bs=4M", "conv=fsync"]),
    (
        "docker",
        &[
            "compose",
            "up",
            "-d",
            "ps",
            "start",
            "logs",
            "postgres",
            "--tail",
            "50",
            "volume",
            "inspect",
            "postgres-data",
        ],
    ),
    ("dpkg", &["--configure", "-a"]),
    ("git", &["fetch", "origin", "checkout", "main", "pull", "--ff-only"]),
    ("install", &["-D", "-m", "644", "755"]),
    ("journalctl", &["-u", "-t", "-n", "-f", "5", "20", "50", "--since", "1 day ago"]),
    ("ln", &["-sf"]),
    ("ls", &[]),
    ("lsblk", &["-d", "-f", "-o", "NAME,SIZE,MODEL,TRAN"]),
    ("mkdir", &["-p"]),
    ("pg_dump", &[]),
    ("rm", &["-r"]),
    ("rmdir", &["--ignore-fail-on-non-empty"]),
    ("sha256sum", &["-c"]),
    ("ssh", &["pi@ホスト名", "true"]),
    ("ssh-copy-id", &["-i", "pi@ホスト名"]),
    ("sudo", &[]),
    ("sudoedit", &[]),
    (
        "systemctl",
        &["status", "start", "stop", "restart", "enable", "disable", "mask", "list-units", "daemon-reload", "--now"],
    ),
    ("tail", &["-n", "20"]),
    ("tar", &["--zstd", "-xf"]),
    ("timedatectl", &["set-time", "2026-01-31 09:00"]),
    ("udevadm", &["control", "--reload", "trigger"]),
    ("umount", &[]),
    ("usermod", &["-aG", "$USER"]),
    ("xz", &["-dc", "toolmaster-virt.img.xz"]),
];

/// Where scripts/build leaves the program.
pub const BUILT: &str = "target/aarch64-unknown-linux-musl/release/toolmaster";

/// The program's commands as its help tells them: words, usage line, options.
pub struct Tree(BTreeMap<Vec<String>, Help>);

struct Help {
    usage: String,
    options: Vec<String>,
}

impl Tree {
    pub fn read() -> Tree {
        let mut tree = BTreeMap::new();
        grow(&mut tree, Vec::new());
        assert!(tree.len() > 20, "the help was not understood");
        Tree(tree)
    }

    pub fn has_command(&self, words: &[&str]) -> bool {
        self.0.keys().any(|command| !words.is_empty() && command.iter().eq(words))
    }

    pub fn has_option(&self, option: &str) -> bool {
        self.0.values().any(|help| help.options.iter().any(|known| known == option))
    }

    /// The commands that take no others.
    pub fn leaves(&self) -> impl Iterator<Item = &Vec<String>> {
        self.0.iter().filter(|(_, help)| !help.usage.contains("<command>")).map(|(words, _)| words)
    }
}

fn grow(tree: &mut BTreeMap<Vec<String>, Help>, words: Vec<String>) {
    let output = Command::new(BINARY).args(&words).arg("--help").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let usage = text.lines().next().unwrap().to_owned();
    let section = |title: &str| {
        let below = text.split(title).nth(1).unwrap_or_default().split("\n\n").next().unwrap_or_default();
        let entries = below.lines().filter_map(|line| line.strip_prefix("  ").filter(|line| !line.starts_with(' ')));
        let names = entries.map(|line| line.split([' ', ',']).next().unwrap().to_owned());
        names.collect::<Vec<String>>()
    };
    for command in section("Commands:\n") {
        grow(tree, [&words[..], &[command]].concat());
    }
    tree.insert(words, Help { usage, options: section("Options:\n") });
}

/// Whether a word is a program that the handbook may call.
pub fn is_program(word: &str, facts: &Facts) -> bool {
    is_ours(word, facts) || OTHERS.iter().any(|(name, _)| *name == word)
}

/// By its own name, or by one that there is a link for.
fn is_ours(word: &str, facts: &Facts) -> bool {
    word == "toolmaster" || (alias(word).is_some() && !facts.files.find(&format!("/usr/local/bin/{word}")).is_empty())
}

/// The command that a name stands for.
fn alias(word: &str) -> Option<&'static str> {
    let stem = word.split('.').next().unwrap_or_default();
    NAMES.iter().find(|(name, _)| *name == stem).map(|(_, command)| *command)
}

/// What is wrong with a command line.
pub fn complaints(line: &str, facts: &Facts) -> Vec<String> {
    let Some(commands) = split(line) else { return vec![format!("a quote without an end: {line}")] };
    commands.iter().flat_map(|words| one(words, facts)).collect()
}

/// The simple commands of a line, as words; none if a quote does not end.
fn split(line: &str) -> Option<Vec<Vec<String>>> {
    let mut commands = vec![Vec::new()];
    let mut word: Option<String> = None;
    let mut quote = None;
    for c in line.chars() {
        match (quote, c) {
            (Some(open), _) if open == c => quote = None,
            (Some(_), _) => word.get_or_insert_default().push(c),
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, '#') if word.is_none() => break,
            (None, ' ' | '|' | ';' | '&') => {
                commands.last_mut()?.extend(word.take());
                if c != ' ' {
                    commands.push(Vec::new());
                }
            }
            (None, _) => word.get_or_insert_default().push(c),
        }
    }
    commands.last_mut()?.extend(word);
    commands.retain(|words| !words.is_empty());
    if quote.is_none() { Some(commands) } else { None }
}

fn one(words: &[String], facts: &Facts) -> Vec<String> {
    let mut words: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut wrong = Vec::new();
    if words.first() == Some(&"sudo") && words.len() > 1 {
        words.remove(0);
    }
    while let Some((name, value)) = words.first().and_then(|word| word.split_once('=')) {
        if !facts.words.has(name) {
            wrong.push(format!("no setting {name}"));
        }
        wrong.extend(Some(value).filter(|_| name == "PG_URI").and_then(address_complaint));
        words.remove(0);
    }
    let [program, rest @ ..] = &words[..] else { return wrong };
    if is_of_repository(program) {
        wrong.extend(facts.path_complaint(program));
        let script = if root().join(program).is_file() { read(program) } else { String::new() };
        let options = rest.iter().filter(|word| word.starts_with("--") && !script.contains(**word));
        wrong.extend(options.map(|option| format!("{program} has no {option}")));
    } else if is_ours(program, facts) {
        wrong.extend(ours(program, rest, facts));
        let paths = rest.iter().filter(|word| word.starts_with('/'));
        wrong.extend(paths.filter_map(|path| facts.path_complaint(path)));
    } else if let Some((_, known)) = OTHERS.iter().find(|(name, _)| name == program) {
        let mut before = "";
        for word in rest {
            let trouble = if known.contains(word) { None } else { argument_complaint(program, before, word, facts) };
            wrong.extend(trouble);
            before = word;
        }
    } else {
        wrong.push(format!("no program {program}"));
    }
    wrong
}

/// What another's program is given, `before` being the word before it.
fn argument_complaint(program: &str, before: &str, word: &str, facts: &Facts) -> Option<String> {
    let unknown = || Some(format!("{program} is given {word}"));
    match program {
        "systemctl" => facts.unit_complaint(word),
        "journalctl" if before == "-u" => facts.unit_complaint(word),
        "journalctl" if before == "-t" && facts.identifiers.iter().any(|known| known == word) => None,
        "apt" if matches!(word, "toolmaster" | "./toolmaster_<version>_arm64.deb") || is_debian_s(word) => None,
        "usermod" if word.split(',').all(is_group) => None,
        "journalctl" | "apt" | "usermod" => unknown(),
        // What scripts/build makes.
        _ if word == BUILT => None,
        _ if word.starts_with('/') || is_of_repository(word) => facts.path_complaint(word),
        _ if facts.words.says(word) => None,
        _ => unknown(),
    }
}

fn address_complaint(value: &str) -> Option<String> {
    PgUri::parse(value).err().map(|why| format!("{value}: {why}"))
}

/// The program's own parser is asked: `--help` at the end makes it stop before it does anything, and after it has
/// understood everything before that.
fn ours(program: &str, words: &[&str], facts: &Facts) -> Vec<String> {
    let output = Command::new(BINARY).arg0(program).args(words).arg("--help").output().unwrap();
    if !output.status.success() {
        return vec![String::from_utf8_lossy(&output.stderr).trim().to_owned()];
    }
    let full: Vec<&str> =
        alias(program).into_iter().flat_map(str::split_whitespace).chain(words.iter().copied()).collect();
    let Some(length) = (1..=full.len()).rev().find(|length| facts.tree.has_command(&full[..*length])) else {
        return Vec::new();
    };
    let command: Vec<String> = full[..length].iter().map(|word| (*word).to_owned()).collect();
    let usage = &facts.tree.0[&command].usage;
    // A name alone is a mention.
    let mut wrong = if words.is_empty() { Vec::new() } else { missing(usage, &full[length..]) };
    let value_of = |option: &str| words.iter().skip_while(|word| **word != option).nth(1);
    wrong.extend(value_of("--pg-uri").and_then(|value| address_complaint(value)));
    let (_, given) = options_and_words(full[length..].iter().copied(), |option| usage.contains(&format!("{option} <")));
    let chosen = given.into_iter().chain(value_of("--only").and_then(|path| path.split('/').next()));
    let is_unit = |word: &str| word.contains('@') && facts.unit_complaint(word).is_none();
    let unknown =
        chosen.filter(|word| word.is_ascii() && !word.starts_with('/') && !facts.words.has(word) && !is_unit(word));
    wrong.extend(unknown.map(|word| format!("{program} does not know {word}")));
    wrong
}

/// What a command needs and is not given, by its usage line: options and words outside of brackets.
fn missing(usage: &str, given: &[&str]) -> Vec<String> {
    let mut needed = String::new();
    let mut depth = 0_usize;
    for c in usage.chars() {
        depth += usize::from(c == '[');
        needed.extend(Some(c).filter(|_| depth == 0));
        depth -= usize::from(c == ']');
    }
    let takes_value = |option: &str| usage.contains(&format!("{option} <"));
    let (options, words) = options_and_words(needed.split_whitespace().skip(2), takes_value);
    let (given_options, given_words) = options_and_words(given.iter().copied(), takes_value);
    let words = words.iter().filter(|word| word.starts_with('<')).count();
    let mut wrong: Vec<String> = options
        .into_iter()
        .filter(|option| !given_options.contains(option))
        .map(|option| format!("{option} is missing"))
        .collect();
    if given_words.len() < words {
        wrong.push(format!("words are missing: {usage}"));
    }
    wrong
}

/// The options, without their values, and the other words.
fn options_and_words<'a>(
    mut all: impl Iterator<Item = &'a str>,
    takes_value: impl Fn(&str) -> bool,
) -> (Vec<&'a str>, Vec<&'a str>) {
    let (mut options, mut words) = (Vec::new(), Vec::new());
    while let Some(word) = all.next() {
        match word.split_once('=').map_or((word, false), |(option, _)| (option, true)) {
            (option, with_value) if option.starts_with("--") => {
                options.push(option);
                if !with_value && takes_value(option) {
                    all.next();
                }
            }
            _ => words.push(word),
        }
    }
    (options, words)
}

/// Whether our package names a package of Debian's.
pub fn is_debian_s(name: &str) -> bool {
    let manifest = read("Cargo.toml");
    let fields = ["depends", "recommends", "provides"];
    let lists =
        fields.map(|field| manifest.split(&format!("\n{field} = \"")).nth(1).unwrap().split('"').next().unwrap());
    lists.iter().any(|list| list.split([',', '|']).any(|known| known.trim() == name))
}

/// Debian's own, whose members read the journal, or one that our package makes.
fn is_group(name: &str) -> bool {
    name == "adm" || read("config/toolmaster.sysusers").lines().any(|line| line.starts_with(&format!("g {name} ")))
}

/// Whether a word is a path of the repository, or looks like one.
pub fn is_of_repository(word: &str) -> bool {
    let directory = word.split_once('/').map(|(directory, _)| directory);
    directory.is_some_and(|name| !name.is_empty() && name != "target" && !in_repository(name).is_empty())
}
