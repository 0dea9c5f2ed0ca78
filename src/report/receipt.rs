//! `RESULT.txt` on an INGEST or BACKUP stick: what became of it, for whoever carries it away and opens it on a PC.
//!
//! It is the last thing that is written to a stick, once all else is on the medium, and only to one whose label and role
//! are proven. It is written at every visit, also one that changed nothing: it says when the stick was here last, and an
//! old one would tell of a backup that was not made today. What can't be written is a warning: the data are what counts.

use std::fmt::Write;
use std::io::Read;

use log::warn;
use serde_json::Value;

use super::{Env, Report, job_name};
use crate::error::{Error, Result};
use crate::os::dir::{Dir, Entry, Kind};
use crate::stick::chain::WritableStick;
use crate::text::{Bytes, Shown};

const NAME: &[u8] = b"RESULT.txt";
/// How it begins: the mark by which Notepad knows UTF-8, and the words by which a later run knows its own.
const HEAD: &str = "\u{feff}RaspberryPiServer の結果: ";
/// The record's reason where the stick has no such dataset.
const MISSING: &str = "not on the stick";
/// So much of an error is shown, characters: a stick's paths may be long.
const LONGEST: usize = 600;

/// What it is told beside the run's record.
#[derive(Clone, Copy)]
pub struct Facts<'a> {
    /// The server's id.
    pub server: &'a str,
    /// Whether the clock is believed.
    pub believed: bool,
    /// Why the run did not do all of its work.
    pub error: Option<&'a Error>,
}

/// Leaves the receipt on a stick. `temp`: its temporary directory.
pub fn leave(stick: &WritableStick, temp: &Dir, env: &Env, report: &Report, facts: Facts<'_>) {
    // A stick that was pulled needs no further line: the run's own error says so.
    if stick.stick().check_present().is_err() {
        return;
    }
    let root = stick.stick().root();
    let time = env.clock.log_time(env.clock.now());
    let written = match is_free(root) {
        Ok(true) => stick.set_file(temp, root, NAME, text(&time, &host(), report, facts).as_bytes()),
        Ok(false) => Err(Error::Failed {
            why: "something else is called RESULT.txt on the stick: it is left as it is, and there is no receipt"
                .to_owned(),
            next: "give it another name on a PC",
        }),
        Err(error) => Err(error),
    };
    if let Err(error) = written {
        warn!("{error}");
    }
}

/// Whether the name is free for the receipt: an earlier one may be replaced, nobody's own file, directory or link.
fn is_free(root: &Dir) -> Result<bool> {
    match root.look(NAME)? {
        None => Ok(true),
        Some(Entry { kind: Kind::File, .. }) => {
            let (file, _) = root.read(NAME)?;
            let mut begin = Vec::new();
            let most = u64::try_from(HEAD.len()).unwrap_or(u64::MAX);
            let read = file.take(most).read_to_end(&mut begin);
            read.map_err(|source| Error::Unreadable { path: root.shown(NAME), source })?;
            // A PC's repair may leave an empty one.
            Ok(begin.is_empty() || begin == HEAD.as_bytes())
        }
        Some(_) => Ok(false),
    }
}

fn host() -> String {
    let name = std::fs::read("/proc/sys/kernel/hostname").unwrap_or_default();
    Shown(name.trim_ascii()).to_string()
}

/// *Pure.* The whole of it, with the line ends that Notepad wants.
fn text(time: &str, host: &str, report: &Report, facts: Facts<'_>) -> String {
    let done = report.datasets.values().any(is_done);
    let lost = report.datasets.values().any(|value| count(value, "lost") > 0);
    let heading = match (facts.error, done) {
        (None, _) if lost => "完了。ただし、採られなかったファイルがあります",
        (None, _) => "完了",
        (Some(_), true) => "一部未完了",
        (Some(_), false) => "失敗",
    };
    let mut text = format!("{HEAD}{heading}\n\n");
    let doubt = if facts.believed { "" } else { "(サーバの時計が合っていないかもしれません)" };
    let (label, uuid) = report.stick.as_ref().map_or(("", ""), |(label, uuid)| (label, uuid));
    let (label, uuid) = (Shown(label.as_bytes()), Shown(uuid.as_bytes()));
    let _ = writeln!(text, "日時: {}{doubt}", time.replacen('T', " ", 1));
    let _ = writeln!(text, "サーバ: {host} ({})", facts.server);
    let _ = writeln!(text, "USB メモリ: {label} ({uuid})");
    let _ = writeln!(text, "作業: {}", job_name(report.job));
    text.push('\n');
    let mut told = false;
    for (name, value) in &report.datasets {
        let reason = word(value, "reason").unwrap_or_default();
        told |= facts.error.is_some_and(|error| error.to_string() == reason);
        let _ = writeln!(text, "{}", line(name, value));
        tell_kept(&mut text, name, value, ("採られなかったファイル", "lost"));
        tell_kept(&mut text, name, value, ("新しい版に置きかわったファイル", "older"));
    }
    if let Some(error) = facts.error.filter(|_| !told) {
        let _ = writeln!(text, "{}: {}", trouble(error.result_word()), shown(&error.to_string()));
    }
    let next = match facts.error {
        None if report.job == "recover" => {
            "抜いて、RUNBOOK の「サーバー交換」の続きをしてください。この USB メモリは、次に挿すとバックアップに戻ります。"
        }
        None if lost => {
            "このまま抜いて使えます。採られなかったファイルはサーバの undo に残してあります。必要なものは、このファイルを担当者に見せて、戻してもらってください。"
        }
        None => "このまま抜いて使えます。",
        Some(_) => {
            "上の -> の後にあることをしてから、もう一度挿してください。行の意味は RUNBOOK の 5 章にあります。\n分からないときは、このファイルを担当者に見せてください。"
        }
    };
    let _ = write!(text, "\n次にすること:\n{next}\n");
    text.replace('\n', "\r\n")
}

fn word<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    value.get(key).and_then(Value::as_str)
}

fn count(value: &Value, key: &str) -> u64 {
    value.get(key).and_then(Value::as_u64).unwrap_or_default()
}

/// Names the files whose content the other side never had, or has in a newer version, and where they are kept.
fn tell_kept(text: &mut String, name: &str, value: &Value, (what, key): (&str, &str)) {
    let files = count(value, key);
    if files == 0 {
        return;
    }
    let place = shown(word(value, &format!("{key}_in")).unwrap_or_default());
    let _ = writeln!(text, "{name}: {what} {files} 件(サーバの {place} に残しました):");
    let names = value.get(format!("{key}_names")).and_then(Value::as_array);
    let names: Vec<&str> = names.into_iter().flatten().filter_map(Value::as_str).collect();
    for file in &names {
        let _ = writeln!(text, "  {}", shown(file));
    }
    let more = files.saturating_sub(names.len() as u64);
    if more > 0 {
        let _ = writeln!(text, "  ほか {more} 件");
    }
}

/// Whether the record says that all is well with a dataset.
fn is_done(value: &Value) -> bool {
    let outcome = word(value, "outcome").unwrap_or_default();
    let missing = word(value, "reason") == Some(MISSING);
    !missing && !matches!(outcome, "refused" | "nothing" | "busy" | "different" | "failed" | "damaged" | "not restored")
}

/// What became of a dataset, or of the archive.
fn line(name: &str, value: &Value) -> String {
    let number = |key: &str| count(value, key);
    let bytes = Bytes(number("bytes"));
    let counts = format!("コピー {} 件 ({bytes})、削除 {} 件", number("copied"), number("deleted"));
    let reason = word(value, "reason").unwrap_or_default();
    let archive = shown(word(value, "name").unwrap_or_default());
    match word(value, "outcome").unwrap_or_default() {
        "stick wins" => format!("{name}: USB メモリの内容をサーバに取り込みました。{counts}"),
        "server wins" => format!("{name}: サーバの内容を USB メモリに書きました。{counts}"),
        "put back" => format!("{name}: 前のデータを USB メモリに戻しました。{counts}"),
        "nothing to do" if reason == MISSING => {
            format!("{name}: USB メモリに {name} フォルダがありません。何もしていません")
        }
        "nothing to do" => format!("{name}: 変わりはありません"),
        "written and verified" => format!("{archive} を書き、読み直して確かめました ({bytes})。{}", snapshot_of(value)),
        "there and verified" => {
            format!("{archive} は前の回に書いてあり、確かめました ({bytes})。{}", snapshot_of(value))
        }
        "restored" => {
            format!(
                "{archive} からサーバを元に戻しました。ファイル {} 件 ({bytes})、表 {} 個",
                number("files"),
                number("tables")
            )
        }
        "files restored" => {
            format!(
                "{archive} からファイル {} 件 ({bytes}) を戻しました。残り(データベースか設定)は、まだ戻っていません",
                number("files")
            )
        }
        "damaged" => format!("{archive} は壊れているので、使っていません"),
        "not restored" => format!("サーバには戻していません: {}", shown(reason)),
        outcome => format!("{name}: {}: {}", trouble(outcome), shown(reason)),
    }
}

/// Which state of the server an archive holds.
fn snapshot_of(value: &Value) -> String {
    let taken = shown(word(value, "taken").unwrap_or_default()).replacen('T', " ", 1);
    let unproven = value.get("unproven").and_then(Value::as_bool) == Some(true);
    let doubt =
        if unproven { "。前のシステムのもので、正しいとは確かめられません" } else { "" };
    format!("{taken} のスナップショットです{doubt}")
}

/// The record's word for a bad end.
fn trouble(outcome: &str) -> &'static str {
    match outcome {
        "refused" => "断りました",
        "nothing" => "元になるものがありません",
        "busy" => "いまはできません",
        _ => "失敗しました",
    }
}

fn shown(text: &str) -> String {
    let text = Shown(text.as_bytes()).to_string();
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_from_a_stick_makes_a_line_of_its_own() {
        let mut report = Report::new("ingest");
        report.stick = Some(("TM\r\nINGEST".to_owned(), "u".to_owned()));
        let reason = format!("a\nb{}", "x".repeat(2 * LONGEST));
        report.datasets.insert("master".to_owned(), serde_json::json!({"outcome": "refused", "reason": reason}));
        let error = Error::Refused { why: "a\n".to_owned(), next: "c".to_owned() };
        let facts = Facts { server: "id", believed: false, error: Some(&error) };
        let text = text("2026-01-31T02:30:00+09:00", "pi", &report, facts);
        assert!(
            text.starts_with("\u{feff}RaspberryPiServer の結果: 失敗\r\n\r\n日時: 2026-01-31 02:30:00+09:00("),
            "{text}"
        );
        assert!(text.contains("\r\nUSB メモリ: TM\\u{d}\\u{a}INGEST (u)\r\n"), "{text}");
        assert!(
            text.contains("\r\nmaster: 断りました: a\\u{a}bxx") && text.contains("x…\r\n断りました: a\\u{a} -> c\r\n"),
            "{text}"
        );
        assert_eq!(text.matches('\n').count(), text.matches("\r\n").count());
    }
}
