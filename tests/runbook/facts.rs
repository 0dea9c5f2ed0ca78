//! What pages are held against, and what kind of thing a piece of code is.

use std::sync::OnceLock;

use toolmaster::NAMES;
use toolmaster::tree::droppings::DROPPINGS;

use crate::commands::{self, BUILT, Tree, is_debian_s, is_of_repository, is_program};
use crate::document::{self, Code, Kind};
use crate::files::{Files, glob, in_repository};
use crate::words::Words;
use crate::{read, root};

/// Code that is none of the program's, and what it is.
const OTHER_WORDS: &[(&str, &str)] = &[
    ("2026-01-31T02:30:00+09:00 [info] 本文", "the form of a log line: src/os/journal.rs, file_line"),
    ("usb_ingest.log.1", "the log of before: src/os/bound.rs, older"),
    (".1", "the log of before: src/os/bound.rs, older"),
    (".gz", "how gzip(1) ends a name: src/mirror/rotate.rs"),
    ("mirror_diff-YYYYMMDDHHMMSS.log.gz", "src/mirror/rotate.rs"),
    ("mirror_mode=true", "how status shows a key: src/cmd/mirror.rs"),
    ("mirror_mode=false", "how status shows a key: src/cmd/mirror.rs"),
    ("mirror_requests.log", "the Pi Zero's requests, written by another program: src/mirror/rotate.rs"),
    ("enabled/active", "systemd's two words for a timer"),
    ("disabled/inactive", "systemd's two words for a timer"),
    ("root:toolmaster", "the owner that provision gives: src/cmd/provision.rs, mirror_settings"),
    ("adm", "Debian's group of those who read the journal"),
    ("bootfs", "the FAT partition's name: image/disk.sh"),
    ("toolmaster-sample.json", "on the FAT partition: image/disk.sh"),
    ("dns", "a key of toolmaster.json: src/settings/site.rs"),
    ("toolmaster.local", "the image's name on the network"),
    ("udev", "the device manager"),
    ("Installing: 0", "apt's word; tests/vm/first.rs"),
    ("FOUND.000", "chkdsk's: src/tree/droppings.rs"),
    ("LOST.DIR", "Android's: src/tree/droppings.rs"),
    ("healthy", "Docker's word; tests/vm/first.rs"),
    ("Cannot connect to the Docker daemon", "Docker's word; tests/vm/first.rs"),
    ("database system is ready to accept connections", "PostgreSQL's word; tests/vm/first.rs"),
    ("password authentication failed", "PostgreSQL's word; tests/vm/first.rs"),
    ("the volume holds a cluster of PostgreSQL", "the container's: image/postgres/entrypoint.sh"),
];

/// All that pages are held against.
pub struct Facts {
    pub words: Words,
    pub files: Files,
    pub tree: Tree,
    pub units: Vec<String>,
    pub identifiers: Vec<String>,
    defaults: String,
}

/// Read once.
pub fn facts() -> &'static Facts {
    static FACTS: OnceLock<Facts> = OnceLock::new();
    FACTS.get_or_init(|| {
        let units: Vec<String> = ["service", "timer", "path", "socket", "target"]
            .iter()
            .flat_map(|kind| in_repository(&format!("systemd/*.{kind}")))
            .collect();
        let texts = units.iter().map(|unit| read(&format!("systemd/{unit}")));
        let named = texts.flat_map(|text| {
            let lines = text.lines().filter_map(|line| line.strip_prefix("SyslogIdentifier=")).map(str::to_owned);
            lines.collect::<Vec<String>>()
        });
        let identifiers = named.chain(NAMES.map(|(name, _)| name.to_owned())).collect();
        Facts {
            words: Words::of(&root().join("src")),
            files: Files::collect(),
            tree: Tree::read(),
            units,
            identifiers,
            defaults: read("config/toolmaster.default"),
        }
    })
}

impl Facts {
    /// Nothing if there is such a unit; an instance and stars are allowed.
    pub fn unit_complaint(&self, unit: &str) -> Option<String> {
        let unit = if unit.contains('.') || unit.ends_with('*') { unit.to_owned() } else { format!("{unit}.service") };
        let template = match unit.split_once('@') {
            Some((name, instance)) => {
                let kind = instance.rsplit_once('.').map_or("service", |(_, kind)| kind);
                format!("{name}@.{kind}")
            }
            None => unit.clone(),
        };
        let there = self.units.iter().any(|known| glob(&template, known));
        if there { None } else { Some(format!("no unit {unit} in systemd/")) }
    }

    pub fn is_path(&self, word: &str) -> bool {
        word.starts_with('/') || is_of_repository(word)
    }

    /// Nothing if there is such a path on a Pi or in the repository.
    pub fn path_complaint(&self, path: &str) -> Option<String> {
        if path.starts_with('/') {
            return if self.files.find(path).is_empty() { Some(format!("no path {path} on a Pi")) } else { None };
        }
        let there = braces(path).iter().all(|path| !in_repository(path.trim_end_matches('/')).is_empty());
        if there { None } else { Some(format!("no {path} in the repository")) }
    }

    /// What is wrong with a span.
    fn span_complaints(&self, span: &str) -> Vec<String> {
        let words: Vec<&str> = span.split_whitespace().collect();
        let [first, rest @ ..] = &words[..] else { return vec!["an empty span".to_owned()] };
        let is_setting =
            |word: &str| word.contains('_') && !word.contains(|c: char| !(c.is_ascii_uppercase() || c == '_'));
        let setting = span.split('=').next().filter(|name| is_setting(name));
        if DROPPINGS.iter().any(|dropping| dropping.pattern == span)
            || OTHER_WORDS.iter().any(|(word, _)| *word == span)
            || self.words.says_in_japanese(span)
            || self.tree.has_command(&words)
        {
            Vec::new()
        } else if is_program(first, self) && (rest.is_empty() || !self.words.says(span)) {
            commands::complaints(span, self)
        } else if first.starts_with("--") {
            self.options_complaints(&words)
        } else if let Some(name) = setting {
            let known =
                if span == name { self.words.has(name) } else { self.defaults.contains(&format!("\n#{span}\n")) };
            if known { Vec::new() } else { vec![format!("no setting {span}")] }
        } else if span.starts_with('{') {
            let keys = span.split('"').skip(1).step_by(2);
            keys.filter(|key| !self.words.has(key)).map(|key| format!("no key {key}")).collect()
        } else if !rest.is_empty() && is_of_repository(first) {
            commands::complaints(span, self)
        } else if rest.is_empty() {
            self.word_complaint(span).into_iter().collect()
        } else if self.words.says(span) || self.words.has(&span.to_lowercase()) {
            let paths = span.split([' ', '=']).filter(|word| word.starts_with('/'));
            paths.filter_map(|path| self.path_complaint(path.trim_end_matches([':', ',']))).collect()
        } else {
            vec![format!("the program never says: {span}")]
        }
    }

    fn options_complaints(&self, words: &[&str]) -> Vec<String> {
        let unknown = |word: &&&str| match word.starts_with("--") {
            true => !self.tree.has_option(word),
            false => word.is_ascii() && word.split('|').any(|value| !self.words.has(value)),
        };
        words.iter().filter(unknown).map(|word| format!("no command has {word}")).collect()
    }

    /// A single word: a unit, a path, a file, a name.
    fn word_complaint(&self, word: &str) -> Option<String> {
        let kinds = [".service", ".timer", ".path", ".socket", ".target"];
        let name = word.trim_end_matches(['/', '*']);
        if self.is_path(word) || (word.ends_with(".md") && !word.contains('/')) {
            self.path_complaint(word)
        } else if word.contains('@') || kinds.iter().any(|kind| word.ends_with(kind)) {
            self.unit_complaint(word)
        } else if word == "toolmaster_<version>_arm64.deb" || is_debian_s(word) {
            None
        } else if word.starts_with("target/") {
            if word == BUILT { None } else { Some(format!("scripts/build does not make {word}")) }
        } else if !name.contains(char::is_alphanumeric) {
            let mark = if name.is_empty() { word } else { name };
            if self.words.has_mark(mark) { None } else { Some(format!("a mark that is nowhere: {word}")) }
        } else {
            // Windows writes some names with capitals that the program does not look at.
            let known = self.words.has(name) || self.words.has(&name.to_lowercase()) || self.words.says(word);
            if known { None } else { Some(format!("a word that the program does not know: {word}")) }
        }
    }
}

/// `a/{b,c}` as `a/b` and `a/c`.
fn braces(path: &str) -> Vec<String> {
    let Some((before, rest)) = path.split_once('{') else { return vec![path.to_owned()] };
    let (inside, after) = rest.split_once('}').unwrap_or((rest, ""));
    inside.split(',').map(|part| format!("{before}{part}{after}")).collect()
}

/// What is wrong with a page.
pub fn lies(page: &str) -> Vec<String> {
    judged(page, |code| lies_of(code, facts()))
}

/// What is wrong with the commands and the paths of a page that has other code too.
pub fn claims(page: &str) -> Vec<String> {
    judged(page, |code| {
        let first = code.text.split_whitespace().next().unwrap_or_default();
        let claim = code.kind == Kind::Shell || is_program(first, facts()) || facts().is_path(first);
        if claim { lies_of(code, facts()) } else { Vec::new() }
    })
}

fn judged(page: &str, judge: impl Fn(&Code) -> Vec<String>) -> Vec<String> {
    match document::code(page) {
        Ok(all) => {
            let told = |code: &Code| judge(code).into_iter().map(|lie| format!("line {}: {lie}", code.line)).collect();
            all.iter().flat_map(|code| -> Vec<String> { told(code) }).collect()
        }
        Err(trouble) => vec![trouble],
    }
}

/// What is wrong with a piece of code.
pub fn lies_of(code: &Code, facts: &Facts) -> Vec<String> {
    match code.kind {
        Kind::Span => facts.span_complaints(&code.text),
        Kind::Shell => commands::complaints(&code.text, facts),
    }
}
