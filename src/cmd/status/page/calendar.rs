//! The last 90 days of snapshots, backups and comparisons, a mark for each day. *Pure*.
//! Six pictures of fifteen days: two abreast on a panel, one on a phone, and the marks stay large enough to be told apart.

use super::{DAYS, Page};

/// Whose days are shown.
const JOBS: [(&str, &str); 3] =
    [("snapshot", "スナップショット"), ("backup", "バックアップ"), ("mirror-compare", "ミラー比較")];
const PER_PICTURE: usize = 15;
// In the picture's own units; on a phone one of them is a pixel.
const LEFT: usize = 100;
const CELL: usize = 16;
const TOP: usize = 16;
const ROW: usize = 22;

/// How often a job ended on a day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Day {
    done: u32,
    failed: u32,
}

impl Day {
    fn words(self) -> String {
        match self {
            Day { done: 0, failed: 0 } => "記録なし".to_owned(),
            Day { done, failed: 0 } => format!("済み {done} 回"),
            Day { done: 0, failed } => format!("失敗 {failed} 回"),
            Day { done, failed } => format!("済み {done} 回、失敗 {failed} 回"),
        }
    }

    /// A disc, a cross and a dot: told apart without colour. A failure that was made good later that day is none.
    fn shape(self, x: usize, y: usize) -> String {
        match self {
            Day { done: 1.., .. } => format!("<circle class=\"done\" cx=\"{x}\" cy=\"{y}\" r=\"6\" />"),
            Day { failed: 1.., .. } => {
                let (left, right, above, below) = (x - 5, x + 5, y - 5, y + 5);
                format!(
                    "<path class=\"failed\" d=\"M{left} {above}L{right} {below}M{left} {below}L{right} {above}\" />"
                )
            }
            _ => format!("<circle class=\"none\" cx=\"{x}\" cy=\"{y}\" r=\"1.5\" />"),
        }
    }
}

/// The section.
pub fn text(page: &Page<'_>) -> String {
    let days: Vec<[Day; JOBS.len()]> = days(page);
    let names: Vec<String> = page.days().map(|day| page.day_name(day)).collect();
    let pictures: String =
        days.chunks(PER_PICTURE).zip(names.chunks(PER_PICTURE)).map(|(days, names)| picture(days, names)).collect();
    let sums: String = JOBS.iter().enumerate().map(|(row, (_, name))| sum(name, row, &days, &names)).collect();
    format!(
        "<section class=\"calendar\">\n<h2>{DAYS} 日間のカレンダー</h2>\n<p class=\"legend\">{done} 済み　{failed} 失敗　{none} 記録なし</p>\n\
         <div class=\"pictures\">\n{pictures}</div>\n<ul class=\"sums\">\n{sums}</ul>\n</section>\n",
        done = sample(Day { done: 1, failed: 0 }),
        failed = sample(Day { done: 0, failed: 1 }),
        none = sample(Day::default()),
    )
}

/// A mark by itself, which the words beside it explain.
fn sample(day: Day) -> String {
    format!("<svg class=\"sample\" viewBox=\"0 0 16 16\" aria-hidden=\"true\">{}</svg>", day.shape(8, 8))
}

fn days(page: &Page<'_>) -> Vec<[Day; JOBS.len()]> {
    let range = page.days();
    let mut days = vec![[Day::default(); JOBS.len()]; range.clone().count()];
    for run in page.runs.newest_first() {
        let Some(row) = JOBS.iter().position(|(job, _)| *job == run.job) else { continue };
        let Some(day) = run.ended().map(|time| page.day_of(time)).filter(|day| range.contains(day)) else { continue };
        let index = usize::try_from(day - range.start()).unwrap_or(usize::MAX);
        let Some(day) = days.get_mut(index).and_then(|day| day.get_mut(row)) else { continue };
        let count = if run.is_done() { &mut day.done } else { &mut day.failed };
        *count = count.saturating_add(1);
    }
    days
}

fn picture(days: &[[Day; JOBS.len()]], names: &[String]) -> String {
    let (first, last) = (names.first(), names.last());
    let label = format!("{} から {} まで", first.map_or("", String::as_str), last.map_or("", String::as_str));
    let (width, height) = (LEFT + PER_PICTURE * CELL, TOP + JOBS.len() * ROW);
    let mut shapes = String::new();
    for (row, (_, job)) in JOBS.iter().enumerate() {
        let y = TOP + row * ROW + ROW / 2;
        shapes.push_str(&format!("<text x=\"0\" y=\"{}\">{job}</text>\n", y + 4));
        for (column, (day, name)) in days.iter().zip(names).enumerate() {
            let Some(day) = day.get(row) else { continue };
            let shape = day.shape(LEFT + column * CELL + CELL / 2, y);
            shapes.push_str(&format!("<g><title>{name} {job}: {}</title>{shape}</g>\n", day.words()));
        }
    }
    // Every fifth day has its date.
    for (column, name) in names.iter().enumerate().step_by(5) {
        shapes.push_str(&format!("<text class=\"date\" x=\"{}\" y=\"11\">{name}</text>\n", LEFT + column * CELL));
    }
    format!("<svg viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{label}\">\n{shapes}</svg>\n")
}

/// The same in words, for those who can't see the marks.
fn sum(name: &str, row: usize, days: &[[Day; JOBS.len()]], names: &[String]) -> String {
    let of_row = || days.iter().filter_map(|day| day.get(row));
    let done = of_row().filter(|day| day.done > 0).count();
    let failed: Vec<&str> =
        of_row().zip(names).filter(|(day, _)| day.done == 0 && day.failed > 0).map(|(_, name)| name.as_str()).collect();
    let which = if failed.is_empty() { String::new() } else { format!("({})", failed.join("、")) };
    format!("<li>{name}: 済んだ日 {done}、失敗だけの日 {}{which}</li>\n", failed.len())
}
