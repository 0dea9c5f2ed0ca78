//! The status page: one file that needs nothing else, no script, no font, no picture. *Pure*: from what was found to its text.
//! It is both HTML and well-formed XML, so that a test can read it with a strict reader.

mod calendar;
mod history;
mod html;
mod storage;

use super::super::job_name;
use super::runs::Runs;
use super::{Line, Verdict};
use crate::clock::{Clock, DAY};
use crate::os::jobs::Room;
use crate::os::progress::FLUSHING;
use crate::os::systemd::Working;
use html::Html;

/// How far back the page looks, today included.
const DAYS: i64 = 90;

const STYLE: &str = include_str!("page/style.css");

/// What the page shows.
pub struct Page<'a> {
    /// The server's name.
    pub host: &'a str,
    /// The clock.
    pub clock: Clock,
    /// When this was found, unix seconds.
    pub now: i64,
    /// What is to be thought of each thing.
    pub lines: &'a [Line],
    /// The runs on record.
    pub runs: &'a Runs,
    /// Which units are at work; none where there is no systemd.
    pub work: &'a [Working],
    /// Room on the server's disk.
    pub room: Option<Room>,
    /// With less room than this, in percent, the disk calls for a hand.
    pub free_percent: u32,
}

impl Page<'_> {
    /// The whole page.
    pub fn text(&self) -> String {
        let bad = self.lines.iter().filter(|line| line.verdict == Verdict::Bad).count();
        let (verdict, words) = match bad {
            0 => (Verdict::Good, "正常".to_owned()),
            bad => (Verdict::Bad, format!("要対応 {bad} 件")),
        };
        let time = self.clock.log_time(self.now);
        let shown = time.get(..19).unwrap_or(&time).replacen('T', " ", 1);
        format!(
            "<!DOCTYPE html>\n<html lang=\"ja\" xmlns=\"http://www.w3.org/1999/xhtml\">\n{head}<body>\n\
             <header>\n<h1>{host} の状態</h1>\n\
             <p class=\"time\">この表示は <time datetime=\"{time}\">{shown}</time> のものです</p>\n</header>\n\
             <p class=\"old\">× この表示は 5 分より前のものです。画面を読み込み直してください。直らなければ、サーバの電源とネットワークを確かめます。</p>\n\
             <main>\n<p class=\"verdict {class}\"><span class=\"mark\" aria-hidden=\"true\">{mark}</span> {words}</p>\n\
             {work}{lines}{calendar}{storage}{history}</main>\n\
             <footer><p>1 分ごとに新しくなります。見るだけの画面で、ここからは何も変えられません。</p></footer>\n\
             </body>\n</html>\n",
            head = self.head(&format!("{} {words}", mark(verdict))),
            host = Html(self.host),
            class = verdict.word(),
            mark = mark(verdict),
            work = self.work(),
            lines = self.checks(),
            calendar = calendar::text(self),
            storage = storage::text(self),
            history = history::text(self),
        )
    }

    /// The policy lets a browser run no script, whatever should have slipped through the escaping.
    fn head(&self, verdict: &str) -> String {
        let host = Html(self.host);
        format!(
            "<head>\n<meta charset=\"utf-8\" />\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; \
             img-src data:; base-uri 'none'; form-action 'none'\" />\n\
             <meta http-equiv=\"refresh\" content=\"60\" />\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\" />\n\
             <meta name=\"robots\" content=\"noindex\" />\n\
             <title>{verdict} - {host}</title>\n\
             <link rel=\"icon\" href=\"data:,\" />\n\
             <style>\n{STYLE}</style>\n</head>\n"
        )
    }

    /// What needs a hand comes first; within that the order of the command line.
    fn checks(&self) -> String {
        let mut lines: Vec<&Line> = self.lines.iter().collect();
        lines.sort_by_key(|line| match line.verdict {
            Verdict::Bad => 0,
            Verdict::Good => 1,
            Verdict::Off => 2,
        });
        let items: String = lines.into_iter().map(check).collect();
        format!("<section>\n<h2>項目ごとの状態</h2>\n<ul class=\"checks\">\n{items}</ul>\n</section>\n")
    }

    /// The units at work, with how far they are.
    fn work(&self) -> String {
        if self.work.is_empty() {
            return "<section class=\"work idle\">\n<h2>いまの作業</h2>\n<p>ありません</p>\n</section>\n".to_owned();
        }
        let items: String = self.work.iter().map(|working| self.working(working)).collect();
        format!("<section class=\"work busy\">\n<h2>いまの作業</h2>\n<ul>\n{items}</ul>\n</section>\n")
    }

    fn working(&self, working: &Working) -> String {
        let (job, device) = job_of_unit(&working.unit);
        let since = working.since.map(|since| self.clock.log_time(since));
        let since = since.as_deref().and_then(|time| time.get(11..19)).map(|time| format!(" {time} から"));
        let device = device.map(|device| format!("({})", Html(device))).unwrap_or_default();
        let (percent, words) = progress(&working.status);
        let bar = percent.map(|percent| format!("<progress max=\"100\" value=\"{percent}\">{percent} %</progress>"));
        format!(
            "<li><p class=\"name\"><span class=\"mark\" aria-hidden=\"true\">▶</span> {job}{device} 作業中{since}</p>\n{bar}<p>{words}</p></li>\n",
            job = Html(job),
            since = since.unwrap_or_default(),
            bar = bar.unwrap_or_default(),
            words = Html(&words),
        )
    }

    /// The number of a day on the site's calendar, from 1970-01-01.
    fn day_of(&self, time: i64) -> i64 {
        (time.saturating_add(i64::from(self.clock.offset_minutes()) * 60)).div_euclid(DAY)
    }

    /// The days that the page looks back on, the oldest first.
    fn days(&self) -> std::ops::RangeInclusive<i64> {
        let today = self.day_of(self.now);
        today - DAYS + 1..=today
    }

    /// A day's month and day, `11-26`.
    fn day_name(&self, day: i64) -> String {
        let time = day.saturating_mul(DAY).saturating_sub(i64::from(self.clock.offset_minutes()) * 60);
        self.clock.log_time(time).get(5..10).unwrap_or_default().to_owned()
    }
}

/// Told apart without colour.
fn mark(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Good => "○",
        Verdict::Bad => "×",
        Verdict::Off => "－",
    }
}

fn check(line: &Line) -> String {
    let Line { key, name, verdict, text, next } = line;
    let next = if next.is_empty() { String::new() } else { format!("\n<p class=\"next\">→ {}</p>", Html(next)) };
    format!(
        "<li class=\"{class}\" id=\"{key}\">\n<p class=\"name\"><span class=\"mark\" aria-hidden=\"true\">{mark}</span> {name} \
         <span class=\"word\">{word}</span></p>\n<p>{text}</p>{next}</li>\n",
        class = verdict.word(),
        mark = mark(*verdict),
        word = verdict.shown().trim_end(),
        name = Html(name),
        text = Html(text),
    )
}

/// What a unit does, and the device that it is about: `usb-backup@sda1.service`.
fn job_of_unit(unit: &str) -> (&str, Option<&str>) {
    let name = unit.split('.').next().unwrap_or(unit);
    let (kind, device) = name.split_once('@').map_or((name, None), |(kind, device)| (kind, Some(device)));
    let job = kind.strip_prefix("usb-").or_else(|| kind.strip_prefix("tool-")).unwrap_or(kind);
    (job_name(job), device)
}

/// From a progress line (`os/progress.rs`) to its percent and to words for people.
fn progress(status: &str) -> (Option<u8>, String) {
    let percent = status.split(" %").next().and_then(|head| head.rsplit(' ').next()).and_then(|word| word.parse().ok());
    let words =
        status.split("  ").filter(|part| *part != "0 / 0 files").map(|part| match part.strip_suffix(" s left") {
            Some(seconds) => format!("残り約 {seconds} 秒"),
            None if part == FLUSHING => "媒体に届くのを待っています".to_owned(),
            None => part.replace(" files", " ファイル"),
        });
    let words = words.collect::<Vec<_>>().join("、");
    (percent.filter(|percent| *percent <= 100), words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_lines() {
        let line = "master: from the stick: 45 %  1.2 MiB / 3.4 MiB  3 / 10 files  1.0 MiB/s  3 s left";
        let words = "master: from the stick: 45 %、1.2 MiB / 3.4 MiB、3 / 10 ファイル、1.0 MiB/s、残り約 3 秒";
        assert_eq!(progress(line), (Some(45), words.to_owned()));
        assert_eq!(
            progress("x: 0 %  0 B / 0 B  0 / 0 files  0 B/s  0 s left").1,
            "x: 0 %、0 B / 0 B、0 B/s、残り約 0 秒"
        );
        let flushing = format!("x: 100 %  8.0 MiB / 8.0 MiB  2 / 2 files  {FLUSHING}");
        let words = "x: 100 %、8.0 MiB / 8.0 MiB、2 / 2 ファイル、媒体に届くのを待っています";
        assert_eq!(progress(&flushing), (Some(100), words.to_owned()));
        assert_eq!(progress(""), (None, String::new()));
        assert_eq!(progress("at 300 % of it"), (None, "at 300 % of it".to_owned()));
    }

    #[test]
    fn units() {
        assert_eq!(job_of_unit("usb-backup@sda1.service"), ("バックアップ", Some("sda1")));
        assert_eq!(job_of_unit("tool-snapshot.service"), ("スナップショット", None));
        assert_eq!(job_of_unit("mirror-compare.service"), ("ミラー比較", None));
    }
}
