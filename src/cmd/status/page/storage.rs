//! How full the server's disk was, from what each run noted at its end. *Pure*.

use super::{DAYS, Page};
use crate::os::jobs::Room;
use crate::text::Bytes;

// In the picture's own units.
const LEFT: f64 = 44.0;
const TOP: f64 = 12.0;
const WIDTH: f64 = 300.0;
const HEIGHT: f64 = 120.0;

/// The section.
pub fn text(page: &Page<'_>) -> String {
    let points = points(page);
    let (Some((first, then)), Some((_, now))) = (points.first(), points.last()) else {
        return "<section>\n<h2>ディスクの使用量</h2>\n<p>まだ記録がありません</p>\n</section>\n".to_owned();
    };
    let words = format!(
        "いま {:.0} %(空き {} / {})、{} は {:.0} %",
        used(*now),
        Bytes(now.free),
        Bytes(now.total),
        page.day_name(page.days().start() + first),
        used(*then)
    );
    format!(
        "<section class=\"storage\">\n<h2>ディスクの使用量</h2>\n<p>{words}</p>\n{}</section>\n",
        picture(page, &points, &words)
    )
}

/// How much is in use, in percent.
fn used(room: Room) -> f64 {
    let used = room.total.saturating_sub(room.free);
    used as f64 * 100.0 / room.total.max(1) as f64
}

/// The last that is known of each day (days from the first), and how it is now.
fn points(page: &Page<'_>) -> Vec<(i64, Room)> {
    let range = page.days();
    let mut points: Vec<(i64, Room)> = page.room.map(|room| (range.end() - range.start(), room)).into_iter().collect();
    for run in page.runs.newest_first() {
        let Some(day) = run.ended().map(|time| page.day_of(time)).filter(|day| range.contains(day)) else { continue };
        let day = day - range.start();
        // A clock that went back gives days out of order: those are left out.
        if let Some(room) = run.disk
            && room.total > 0
            && points.last().is_none_or(|(later, _)| day < *later)
        {
            points.push((day, room));
        }
    }
    points.reverse();
    points
}

fn picture(page: &Page<'_>, points: &[(i64, Room)], words: &str) -> String {
    let x = |day: i64| LEFT + day as f64 * WIDTH / (DAYS - 1) as f64;
    let y = |percent: f64| TOP + HEIGHT - percent * HEIGHT / 100.0;
    let mut shapes = String::new();
    for percent in [0.0, 50.0, 100.0] {
        let (at, right) = (y(percent), LEFT + WIDTH);
        shapes.push_str(&format!("<path class=\"grid\" d=\"M{LEFT} {at:.1}H{right}\" />\n"));
        shapes.push_str(&format!(
            "<text class=\"left\" x=\"{}\" y=\"{:.1}\">{percent} %</text>\n",
            LEFT - 5.0,
            at + 4.0
        ));
    }
    let limit = y(100.0 - f64::from(page.free_percent));
    shapes.push_str(&format!(
        "<path class=\"limit\" d=\"M{LEFT} {limit:.1}H{}\" /><text x=\"{}\" y=\"{:.1}\">これより上は要対応</text>\n",
        LEFT + WIDTH,
        LEFT + 4.0,
        limit + 13.0
    ));
    let corners: Vec<String> =
        points.iter().map(|(day, room)| format!("{:.1},{:.1}", x(*day), y(used(*room)))).collect();
    shapes.push_str(&format!("<polyline class=\"used\" points=\"{}\" />\n", corners.join(" ")));
    if let Some((day, room)) = points.last() {
        shapes.push_str(&format!(
            "<circle class=\"now\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"4\" />\n",
            x(*day),
            y(used(*room))
        ));
    }
    let below = TOP + HEIGHT + 15.0;
    for day in [0, DAYS / 3, DAYS * 2 / 3] {
        let name = page.day_name(page.days().start() + day);
        shapes.push_str(&format!("<text class=\"date\" x=\"{:.1}\" y=\"{below}\">{name}</text>\n", x(day)));
    }
    let (width, height) = (LEFT + WIDTH + 8.0, below + 5.0);
    format!("<svg viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{words}\">\n{shapes}</svg>\n")
}
