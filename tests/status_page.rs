//! `toolmaster status --html`: the page of a server with real data, runs and faults, read by a strict reader. With
//! `STATUS_PAGES=directory` the pages are kept there, for tests/page/look.sh to take pictures of.
//! There is no systemd here: what it would say comes from a stand-in, and so does what a disk would say of its wear, which no
//! disk of this machine tells.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
#[path = "page/contrast.rs"]
mod contrast;
#[path = "page/web.rs"]
mod web;
#[path = "page/xml.rs"]
mod xml;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use common::call::Call;
use common::postgres::free_port;
use common::site::Site;
use common::stick::Mounted;
use common::{Server, Stick, path_with, program, sample, tool};
use rustix::mount::MountFlags;
use serde_json::Value;
use xml::Element;

/// The time at which these servers live; it stands still while the program runs, so that two of its answers can be compared.
const NOON: &str = "2026-06-15 12:00:00";

/// A server with data from a stick, a snapshot and a backup, all at [`NOON`] but for what is said otherwise.
fn well() -> Site {
    let site = Site::without_tables(Server::on_disk(256));
    site.database.psql("CREATE TABLE part_locations (order_code text PRIMARY KEY)");
    let stick = Stick::ingest();
    stick.edit(|root| sample(root, 1_781_400_000));
    site.server.run(&stick).clock(NOON).done();
    at(&site, &["snapshot"], NOON).finish().ended(0);
    backup(&site, NOON).finish().ended(0);
    site
}

fn at<'a>(site: &'a Site, arguments: &[&str], time: &str) -> Call<'a> {
    site.call(arguments).clock(time).var("MIRRORCTL_CONFIG", "/nonexistent/config.json")
}

fn backup<'a>(site: &'a Site, time: &str) -> Call<'a> {
    at(site, &["backup", "--device", site.stick.device()], time)
}

fn json(call: Call<'_>) -> Value {
    serde_json::from_str(&call.finish().stdout).unwrap()
}

/// Where this test's pages go, each under its name.
struct Pages(tempfile::TempDir);

impl Pages {
    fn new() -> Pages {
        Pages(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(format!("{name}.html"))
    }

    /// Writes the page, which must succeed, whatever it has to say, and reads it.
    fn page(&self, name: &str, call: Call<'_>) -> Element {
        let file = self.file(name);
        let run = call.flag("--html").flag(file.to_str().unwrap()).finish();
        run.ended(0);
        assert_eq!((run.stdout.as_str(), run.stderr.as_str()), ("", ""), "{run}");
        let metadata = fs::metadata(&file).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o7777, 0o644);
        if let Some(keep) = std::env::var_os("STATUS_PAGES") {
            fs::copy(&file, Path::new(&keep).join(file.file_name().unwrap())).unwrap();
        }
        xml::read(&fs::read_to_string(file).unwrap())
    }
}

/// The page says of each thing what the command line says, and of the whole.
fn same(page: &Element, json: &Value) {
    let checks = json["checks"].as_array().unwrap();
    let items = page.only("ul", "checks").of("li", "");
    assert_eq!(items.len(), checks.len());
    for check in checks {
        let said = |key: &str| check[key].as_str().unwrap();
        let item = items.iter().find(|item| item.attribute("id") == said("key")).expect("each thing's line");
        assert_eq!(item.attribute("class"), said("verdict"));
        let (mark, word) = match said("verdict") {
            "good" => ("○", "正常"),
            "bad" => ("×", "要対応"),
            _ => ("－", "－"),
        };
        assert_eq!(item.only("p", "name").text(), format!("{mark} {} {word}", said("name")));
        assert_eq!(item.only("span", "word").text(), word);
        let next = if said("next").is_empty() { String::new() } else { format!("\n→ {}", said("next")) };
        assert_eq!(item.text(), format!("\n{mark} {} {word}\n{}{next}", said("name"), said("text")));
    }
    let bad = checks.iter().filter(|check| check["verdict"] == "bad").count();
    // What needs a hand is above all else.
    assert!(items[..bad].iter().all(|item| item.attribute("class") == "bad"));
    let words = if bad == 0 { "○ 正常".to_owned() } else { format!("× 要対応 {bad} 件") };
    assert_eq!(page.only("p", "verdict").text(), words);
    assert_eq!(json["healthy"], bad == 0);
    assert!(page.only("head", "").only("title", "").text().starts_with(&words), "{words}");
}

#[test]
fn the_page_says_what_the_command_line_says() {
    let (site, pages) = (well(), Pages::new());
    history(&site);
    let said = json(at(&site, &["status", "--json"], NOON));
    let page = pages.page("healthy", at(&site, &["status"], NOON));
    same(&page, &said);
    assert_eq!(said["healthy"], true, "{said}");
    assert_eq!(page.only("p", "time").text(), "この表示は 2026-06-15 12:00:00 のものです");
    assert_eq!(page.only("html", "").attribute("lang"), "ja");
    assert!(page.of("script", "").is_empty(), "it needs no script");

    // Three kinds of failure: a database that is down, a backup that is old, a stick that was refused.
    let nobody = format!("postgresql://nobody:secret-word@127.0.0.1:{}/none", free_port());
    let down = || at(&site, &["status"], NOON).var("PG_URI", &nobody);
    let page = pages.page("database", down());
    same(&page, &json(down().flag("--json")));
    assert!(!page.text().contains("secret-word"));
    let later = "2026-07-25 12:00:00";
    same(&pages.page("old", at(&site, &["status"], later)), &json(at(&site, &["status", "--json"], later)));
    let other = Stick::blank("TM-BACKUP", 16);
    at(&site, &["backup", "--device", other.device()], NOON).fails(2);
    same(&pages.page("refused", at(&site, &["status"], NOON)), &json(at(&site, &["status", "--json"], NOON)));
    // The data disk is not there: no unit of the server runs then, but the page must.
    let gone = || at(&site, &["status"], NOON).var("SERVER_ROOT", "/nonexistent/server");
    same(&pages.page("gone", gone()), &json(gone().flag("--json")));
}

/// Records of ninety days before [`NOON`], in front of those of the real runs: a server's life can't be lived here.
fn history(site: &Site) {
    let file = site.server.path("logs/jobs.jsonl");
    let real = fs::read_to_string(&file).unwrap();
    let noon: i64 = 1_781_524_800;
    let total = 240_u64 << 30;
    let mut lines = String::new();
    for day in (1..90).rev() {
        let free = total / 1000 * (400 + day * 4);
        let mut add = |job: &str, result: &str, label: Value, datasets: Value, bytes: u64, error: Value| {
            let time = tool(
                "date",
                &["-u", "+%Y-%m-%dT%H:%M:%S+00:00", &format!("--date=@{}", noon - day as i64 * common::DAY)],
            );
            let record = serde_json::json!({"time": time.trim(), "job": job, "device": null, "label": label, "uuid": null, "result": result,
                "datasets": datasets, "bytes": bytes, "duration_ms": 4_200 + day * 1000, "disk": {"free": free, "total": total}, "error": error});
            lines.push_str(&format!("{record}\n"));
        };
        let down = matches!(day, 40 | 41);
        let error = if down {
            "pg_dump failed on the database -> systemctl status raspi-server.service".into()
        } else {
            Value::Null
        };
        add("snapshot", if down { "failed" } else { "done" }, Value::Null, serde_json::json!({}), 0, error);
        add(
            "mirror-compare",
            if day == 60 { "different" } else { "done" },
            Value::Null,
            serde_json::json!({}),
            0,
            Value::Null,
        );
        if day % 7 == 3 {
            let archive = serde_json::json!({"archive": {"outcome": "written and verified", "name": "2026-06-12_full.tar.zst", "bytes": 912_680_550}});
            add("backup", "done", "TM-BACKUP".into(), archive, 912_680_550, Value::Null);
        }
        if day % 2 == 0 {
            let master = serde_json::json!({"docviewer": {"outcome": "nothing to do", "copied": 0, "deleted": 0, "bytes": 0},
                "master": {"outcome": "stick wins", "copied": 12, "deleted": 1, "bytes": 48_000}});
            add("ingest", "done", "TM-INGEST".into(), master, 48_000, Value::Null);
        }
    }
    fs::write(&file, lines + &real).unwrap();
}

/// The words of a day's mark: `06-12 バックアップ`.
fn day(page: &Element, name: &str) -> (String, String) {
    let mut found =
        page.only("section", "calendar").of("g", "").into_iter().filter(|mark| mark.text().starts_with(name));
    let mark = found.next().expect(name);
    assert!(found.next().is_none(), "{name} twice");
    let shape = mark.all().into_iter().find(|element| matches!(&*element.name, "circle" | "path")).unwrap();
    let class = shape.attribute("class").to_owned();
    // Told apart by more than the colour.
    assert_eq!(shape.name == "path", class == "failed");
    assert_eq!(shape.attribute("r") == "1.5", class == "none");
    (class, mark.text().trim().split_once(": ").unwrap().1.to_owned())
}

#[test]
fn the_calendar_marks_the_days() {
    let (site, pages) = (well(), Pages::new());
    at(&site, &["snapshot"], "2026-06-10 02:30:00").finish().ended(0);
    at(&site, &["snapshot"], "2026-06-09 23:59:59").finish().ended(0);
    let nobody = format!("postgresql://nobody@127.0.0.1:{}/none", free_port());
    let fails = |time: &str| at(&site, &["snapshot"], time).var("PG_URI", &nobody).start().wait().ended(1).code;
    fails("2026-06-08 02:30:00");
    fails("2026-06-10 01:30:00");
    // 90 days with today: the first and the day before it.
    at(&site, &["snapshot"], "2026-03-18 02:30:00").finish().ended(0);
    at(&site, &["snapshot"], "2026-03-17 02:30:00").finish().ended(0);
    let page = pages.page("calendar", at(&site, &["status"], NOON));
    let is = |name: &str, class: &str, words: &str| {
        assert_eq!(day(&page, name), (class.to_owned(), words.to_owned()), "{name}")
    };
    is("06-15 スナップショット", "done", "済み 1 回");
    is("06-15 バックアップ", "done", "済み 1 回");
    is("06-15 ミラー比較", "none", "記録なし");
    is("06-10 スナップショット", "done", "済み 1 回、失敗 1 回");
    is("06-09 スナップショット", "done", "済み 1 回");
    is("06-08 スナップショット", "failed", "失敗 1 回");
    is("06-07 スナップショット", "none", "記録なし");
    is("03-18 スナップショット", "done", "済み 1 回");
    let marks = page.only("section", "calendar").of("g", "");
    assert_eq!(marks.len(), 3 * 90);
    assert!(!marks.iter().any(|mark| mark.text().contains("03-17")));
    let sums = page.only("ul", "sums").text();
    assert!(sums.contains("スナップショット: 済んだ日 4、失敗だけの日 1(06-08)"), "{sums}");
    // The same runs in a site east of here: 23:59:59 is the next day there.
    let page = pages.page("east", at(&site, &["status"], NOON).var("TZ", "UTC-9"));
    assert_eq!(day(&page, "06-10 スナップショット").1, "済み 2 回、失敗 1 回");
    assert_eq!(day(&page, "06-09 スナップショット").0, "none");
}

#[test]
fn the_last_twenty_runs_with_what_they_copied() {
    let (site, pages) = (well(), Pages::new());
    for _ in 0..20 {
        at(&site, &["snapshot"], NOON).finish().ended(0);
    }
    let stick = Stick::ingest();
    stick.edit(|root| {
        sample(root, 1_781_400_000);
        root.sub("master").file("new.csv", "12345", 1_781_400_000).meta(1_781_550_000);
    });
    site.server.run(&stick).clock(NOON).done();
    let page = pages.page("runs", at(&site, &["status"], NOON));
    let runs = page.only("ol", "runs").of("li", "");
    assert_eq!(runs.len(), 20);
    let newest = runs[0].text();
    for words in [
        "06-15 12:00 ○ 完了 取り込み TM-INGEST",
        "master: USB メモリを採った、1 件コピー",
        "docviewer: 変わりなし",
        "合わせて 5 B",
        " 秒",
    ] {
        assert!(newest.contains(words), "{words}: {newest}");
    }
    assert!(runs[1].text().contains("スナップショット") && !page.only("ol", "runs").text().contains("TM-BACKUP"));
    // Each run told the room on the disk.
    let record = site.server.last_job();
    let (free, total) = (record["disk"]["free"].as_u64().unwrap(), record["disk"]["total"].as_u64().unwrap());
    assert!(0 < free && free < total && total < 256 << 20, "{record}");
    assert!(page.only("section", "storage").text().contains("いま "), "{page:?}");
}

/// What a stick, a record or a unit says can be anything: it is text, and nothing else.
#[test]
fn nothing_hostile_gets_into_the_page() {
    const LABEL: &str = "<b>&\"'</b>";
    let (site, pages) = (well(), Pages::new());
    let stick = Stick::blank(LABEL, 16);
    at(&site, &["backup", "--device", stick.device()], NOON).fails(2);
    let page = pages.page("label", at(&site, &["status"], NOON));
    let backup = page.only("ul", "checks").of("li", "bad");
    assert!(backup[0].text().contains(LABEL), "{}", backup[0].text());
    assert!(page.only("ol", "runs").of("li", "")[0].text().contains(LABEL));

    let script = "</p></li></style><script>alert(1)</script><img src=x onerror=alert(1)>&amp;]]>\u{1b}[2J\u{202e}\n\u{0}\u{ffff}";
    let record = serde_json::json!({"time": script, "job": script, "label": script, "result": script, "error": script,
        "datasets": {script: {"outcome": script, "name": script, "copied": script}}, "bytes": 1, "duration_ms": u64::MAX});
    let file = site.server.path("logs/jobs.jsonl");
    fs::write(&file, fs::read_to_string(&file).unwrap() + &format!("{record}\n")).unwrap();
    let systemctl = program(
        "systemctl",
        &format!(
            "case $* in *StatusText*) cat <<'END'\n{}\nEND\n;; *) exit 1;; esac",
            "Id=usb-<i>@\"x\".service\nActiveState=activating\nSubState=start\nStatusText=<script>'&: 45 %"
        ),
    );
    let call = at(&site, &["status"], NOON).var("PATH", path_with(systemctl.path()));
    let page = pages.page("hostile", call);
    assert!(page.of("script", "").is_empty() && page.of("img", "").is_empty() && page.of("i", "").is_empty());
    let shown = page.only("ol", "runs").of("li", "")[0].text();
    assert_eq!(shown.matches("<script>alert(1)</script>").count(), 6, "{shown}");
    assert!(page.only("section", "work").text().contains("<script>'&: 45 %"));
    assert!(
        page.of("meta", "").iter().any(|meta| meta.attribute("content").starts_with("default-src 'none'; style-src"))
    );
}

/// What systemd says of units at work, from a stand-in: there is none here.
#[test]
fn work_that_goes_on_is_shown_with_how_far_it_is() {
    let (site, pages) = (well(), Pages::new());
    history(&site);
    let units = "Id=usb-backup@sda1.service\nActiveState=activating\nSubState=start\n\
        StatusText=2026-06-15_full.tar.zst: writing: 45 %  412.0 MiB / 912.4 MiB  0 / 0 files  21.0 MiB/s  24 s left\n\
        InactiveExitTimestamp=@1781524740\n\n\
        Id=tool-snapshot.service\nActiveState=activating\nSubState=auto-restart\nStatusText=\n\n\
        Id=usb-ingest@sdb1.service\nActiveState=inactive\nSubState=dead";
    let systemctl =
        program("systemctl", &format!("case $* in *StatusText*) cat <<'END'\n{units}\nEND\n;; *) exit 1;; esac"));
    let call = at(&site, &["status"], NOON).var("PATH", path_with(systemctl.path()));
    let work = pages.page("working", call);
    let work = work.only("section", "busy");
    let items = work.of("li", "");
    assert_eq!(items.len(), 1);
    let text = items[0].text();
    assert!(text.contains("▶ バックアップ(sda1) 作業中 11:59:00 から"), "{text}");
    assert!(text.contains("412.0 MiB / 912.4 MiB") && text.contains("残り約 24 秒"), "{text}");
    assert_eq!(items[0].only("progress", "").attribute("value"), "45");
    let idle = pages.page("idle", at(&site, &["status"], NOON));
    assert_eq!(idle.only("section", "work").of("li", "").len(), 0);
}

/// Where the new page can't be written the old one stands, whole, and the run says so.
#[test]
fn a_page_that_cannot_be_written_leaves_the_old_one() {
    let site = Site::without_tables(Server::new());
    let place = Mounted::of_type("tmpfs", "none", MountFlags::empty(), "size=16k");
    let file = place.0.path().join("index.html");
    let old = "the old page\n".repeat(300);
    fs::write(&file, &old).unwrap();
    let html = || at(&site, &["status", "--html", file.to_str().unwrap()], NOON);
    let run = html().finish();
    run.ended(1);
    assert!(run.stderr.contains("-> make room there"), "{run}");
    assert_eq!(fs::read_to_string(&file).unwrap(), old, "the disk is full");
    rustix::mount::mount_remount(place.0.path(), MountFlags::RDONLY, "size=16k").unwrap();
    html().finish().ended(1);
    assert_eq!(fs::read_to_string(&file).unwrap(), old, "it is write-protected");
    rustix::mount::mount_remount(place.0.path(), MountFlags::empty(), "size=1m").unwrap();
    // Killed in mid-write: a file may have 8 KiB here and no more.
    let run = html().through(&["prlimit", "--fsize=8192"]).start().wait();
    assert!(run.code != Some(0), "{run}");
    assert_eq!(fs::read_to_string(&file).unwrap(), old, "it was killed");
    html().finish().ended(0);
    let names: Vec<_> = fs::read_dir(place.0.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["index.html"], "nothing is left beside it");
    xml::read(&fs::read_to_string(&file).unwrap());
    let missing = at(&site, &["status", "--html", "/nonexistent/index.html"], NOON).finish();
    missing.ended(1);
    for wrong in [&["status", "--html", "--json"][..], &["status", "page.html"]] {
        at(&site, wrong, NOON).finish().ended(64);
    }
}

/// Two that write at once, and somebody who looks all the time.
#[test]
fn nobody_sees_half_a_page() {
    let (site, pages) = (Site::without_tables(Server::new()), Pages::new());
    pages.page("index", at(&site, &["status"], NOON));
    let file = pages.file("index");
    for _ in 0..5 {
        let html = || at(&site, &["status", "--html", file.to_str().unwrap()], NOON).start();
        let (mut one, other) = (html(), html());
        let mut looks = 0;
        one.until("it was looked at", || {
            xml::read(&fs::read_to_string(&file).unwrap());
            looks += 1;
            looks > 3
        });
        one.wait().ended(0);
        other.wait().ended(0);
        xml::read(&fs::read_to_string(&file).unwrap());
    }
}

#[test]
fn its_colours_can_be_told_from_what_they_stand_on() {
    let (site, pages) = (Site::without_tables(Server::new()), Pages::new());
    let page = pages.page("colours", at(&site, &["status"], NOON));
    let pairs = contrast::pairs(&page.only("style", "").text());
    assert!(pairs.len() > 25, "{}", pairs.len());
    for (text, ground, contrast) in pairs {
        assert!(contrast >= 4.5, "{text} on {ground}: {contrast:.2}");
    }
}

/// Headings in order, a text beside each picture: for whoever does not see it.
#[test]
fn it_can_be_heard() {
    let (site, pages) = (well(), Pages::new());
    let page = pages.page("heard", at(&site, &["status"], NOON));
    let headings: Vec<&str> =
        page.all().iter().map(|element| &*element.name).filter(|name| matches!(*name, "h1" | "h2" | "h3")).collect();
    assert_eq!(headings[0], "h1");
    assert!(headings.len() > 4 && headings[1..].iter().all(|name| *name == "h2"), "{headings:?}");
    for picture in page.of("svg", "") {
        let told = picture.attribute("role") == "img" && !picture.attribute("aria-label").is_empty();
        assert!(told || picture.attribute("aria-hidden") == "true", "{picture:?}");
    }
    for id in page.all().iter().map(|element| element.attribute("id")).filter(|id| !id.is_empty()) {
        assert_eq!(page.all().iter().filter(|element| element.attribute("id") == id).count(), 1, "{id}");
    }
}

/// What a disk says comes from a stand-in: none of this machine tells it.
#[test]
fn how_worn_the_disk_is() {
    let site = well();
    let wear = |answer: &str| {
        let smartctl = program("smartctl", &format!("test -b \"$7\" && cat <<'END'\n{answer}\nEND\nexit 4"));
        at(&site, &["wear"], NOON).var("PATH", path_with(smartctl.path())).finish().ended(0);
    };
    let line = || {
        let said = json(at(&site, &["status", "--json"], NOON));
        let wear = said["checks"].as_array().unwrap().iter().find(|check| check["key"] == "wear").unwrap();
        format!(
            "{} {} {}",
            wear["verdict"].as_str().unwrap(),
            wear["text"].as_str().unwrap(),
            wear["next"].as_str().unwrap()
        )
    };
    assert!(line().starts_with("off まだ調べていません"), "{}", line());
    wear(r#"{"smart_status":{"passed":true},"nvme_smart_health_information_log":{"percentage_used":79}}"#);
    assert!(line().starts_with("good 寿命の 79 % を使用"), "{}", line());
    wear(r#"{"smart_status":{"passed":true},"nvme_smart_health_information_log":{"percentage_used":80}}"#);
    assert!(line().starts_with("bad 寿命の 80 % を使用、80 % 以上"), "{}", line());
    assert!(
        json(at(&site, &["status", "--json"], NOON).var("STATUS_WEAR_PERCENT", "90"))["healthy"].as_bool().unwrap()
    );
    wear(r#"{"smart_status":{"passed":false},"endurance_used":{"current_percent":3}}"#);
    assert!(line().starts_with("bad SSD が故障を予告しています。寿命の 3 % を使用"), "{}", line());
    wear(r#"{"smartctl":{"exit_status":1}}"#);
    assert!(line().starts_with("off この SSD からは分かりません"), "{}", line());
    let pages = Pages::new();
    same(&pages.page("wear", at(&site, &["status"], NOON)), &json(at(&site, &["status", "--json"], NOON)));
}
