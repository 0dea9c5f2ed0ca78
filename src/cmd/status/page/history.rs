//! The last runs, with what they copied. *Pure*.

use serde_json::{Map, Value};

use super::super::super::job_name;
use super::super::runs::Run;
use super::Page;
use super::html::Html;
use crate::text::Bytes;

const SHOWN: usize = 20;

/// The section.
pub fn text(page: &Page<'_>) -> String {
    let items: String = page.runs.newest_first().take(SHOWN).map(run).collect();
    let list = if items.is_empty() {
        "<p>まだありません</p>\n".to_owned()
    } else {
        format!("<ol class=\"runs\">\n{items}</ol>\n")
    };
    format!("<section class=\"history\">\n<h2>最近の作業(新しい順に {SHOWN} 回まで)</h2>\n{list}</section>\n")
}

fn run(run: &Run) -> String {
    let (class, mark) = if run.is_done() { ("good", "○") } else { ("bad", "×") };
    let time = run.ended().and_then(|_| run.time.get(5..16)).map(|time| time.replacen('T', " ", 1));
    let time = time.unwrap_or_else(|| "日時不明".to_owned());
    let label = run.label.as_deref().map(|label| format!(" <span class=\"label\">{}</span>", Html(label)));
    let error = run.error.as_deref().map(|error| format!("\n<p class=\"why\">{}</p>", Html(error)));
    let mut what: Vec<String> = run.datasets.iter().map(|(name, of)| dataset(name, of)).collect();
    if run.bytes > 0 {
        what.push(format!("合わせて {}", Bytes(run.bytes)));
    }
    what.push(duration(run.duration_ms));
    format!(
        "<li class=\"{class}\">\n<p class=\"name\"><span class=\"when\">{time}</span> <span class=\"mark\" aria-hidden=\"true\">{mark}</span> \
         <span class=\"word\">{word}</span> {job}{label}</p>\n<p>{what}</p>{error}</li>\n",
        time = Html(&time),
        word = run.word(),
        job = Html(job_name(&run.job)),
        label = label.unwrap_or_default(),
        what = Html(&what.join(" / ")),
        error = error.unwrap_or_default(),
    )
}

/// What became of a dataset, an archive, a database: `master: USB メモリを採った、3 件コピー、1 件削除`.
fn dataset(name: &str, of: &Value) -> String {
    let empty = Map::new();
    let of = of.as_object().unwrap_or(&empty);
    let text = |key: &str| of.get(key).and_then(Value::as_str);
    let number = |key: &str| of.get(key).and_then(Value::as_u64).filter(|number| *number > 0);
    let mut words = Vec::new();
    words.extend(text("outcome").map(|outcome| outcome_words(outcome).to_owned()));
    words.extend(text("name").map(str::to_owned));
    for (key, word) in [
        ("copied", "件コピー"),
        ("deleted", "件削除"),
        ("tables", "表"),
        ("rows", "行"),
        ("diff_count", "件の差分"),
        ("ok_streak", "回続けて OK"),
        ("worn_percent", "% 使用"),
    ] {
        words.extend(number(key).map(|number| format!("{number} {word}")));
    }
    format!("{name}: {}", words.join("、"))
}

fn outcome_words(outcome: &str) -> &str {
    match outcome {
        "nothing to do" => "変わりなし",
        "stick wins" => "USB メモリを採った",
        "server wins" => "サーバを採った",
        "exported" => "書き出した",
        "synced" => "読み込んだ",
        "taken" => "撮った",
        "written and verified" => "書いて確かめた",
        "there and verified" => "もうあり、確かめた",
        "restored" | "put back" => "戻した",
        "read" => "調べた",
        "not told" => "分からない",
        "acknowledged" => "確認済みにした",
        "refused" => "断った",
        "failed" => "失敗",
        "busy" => "使用中",
        other => other,
    }
}

fn duration(ms: u64) -> String {
    match ms / 1000 {
        0..60 => format!("{}.{} 秒", ms / 1000, ms % 1000 / 100),
        seconds @ 60..3600 => format!("{} 分 {} 秒", seconds / 60, seconds % 60),
        seconds => format!("{} 時間 {} 分", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        assert_eq!(
            [0, 59_999, 60_000, 3_599_999, 3_600_000].map(duration),
            ["0.0 秒", "59.9 秒", "1 分 0 秒", "59 分 59 秒", "1 時間 0 分"]
        );
    }

    #[test]
    fn what_became_of_it() {
        let of = serde_json::json!({"outcome": "stick wins", "reason": "…", "copied": 3, "deleted": 0, "bytes": 9});
        assert_eq!(dataset("master", &of), "master: USB メモリを採った、3 件コピー");
        assert_eq!(dataset("x", &Value::Null), "x: ");
    }
}
