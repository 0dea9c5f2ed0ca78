//! SPEC 6: what is a readable `updated_at`, and what stands in for one that is not.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::fs::File;

use common::{DAY, Server, Stick, Tree, ago, tool};

/// The server's `updated_at` in all of these.
const SERVER: i64 = 1000;

/// A server and a stick whose `a.csv` differ and that have no common base, so that the metas decide.
fn strangers() -> (Server, Stick) {
    let (server, stick) = (Server::new(), Stick::ingest());
    server.master().file("a.csv", "server", ago(9000)).meta(ago(SERVER));
    stick.edit(|root| {
        root.sub("master").file("a.csv", "stick", ago(9000));
    });
    (server, stick)
}

/// Who wins after `write` laid the stick's meta.json.
fn winner(server: &Server, stick: &Stick, write: impl FnOnce(&Tree)) -> &'static str {
    stick.edit(|root| write(&root.sub("master")));
    let run = server.run(stick).flag("--dry-run").memory(512).done();
    let says = |text| run.messages().contains(text);
    match (says("master: stick wins"), says("master: server wins")) {
        (true, false) => "stick",
        (false, true) => "server",
        _ => panic!("no decision\n{run}"),
    }
}

/// `date`'s form of a time.
fn date(seconds: i64, form: &str) -> String {
    tool("date", &["-u", "-d", &format!("@{seconds}"), form]).trim().to_owned()
}

#[test]
fn numbers_and_times_as_text_are_readable() {
    let (server, stick) = strangers();
    let (newer, older) = (ago(SERVER - 100), ago(SERVER + 100));
    let forms: [fn(i64) -> String; 7] = [
        |time| format!("{time}"),
        |time| format!("{time}.25"),
        |time| format!("{}e0", time),
        |time| format!("\"{time}\""),
        |time| format!("\"{time}.25\""),
        |time| format!("\"{}\"", date(time, "+%Y-%m-%dT%H:%M:%SZ")),
        |time| format!("\"{}\"", date(time + 9 * 3600, "+%Y-%m-%dT%H:%M:%S+09:00")),
    ];
    for form in forms {
        // The file's own mtime says the opposite each time, so it was not what decided.
        for (time, mtime, expected) in [(newer, ago(5000), "stick"), (older, ago(10), "server")] {
            let text = format!("{{\"updated_at\": {}}}", form(time));
            let won = winner(&server, &stick, |master| {
                master.meta_text(&text, mtime);
            });
            assert_eq!(won, expected, "{text}");
        }
    }
}

#[test]
fn what_is_unreadable_falls_back_to_the_mtime_of_meta_json() {
    let (server, stick) = strangers();
    let values = [
        "\"2026-01-31\"",
        "\"31.01.2026\"",
        "-1",
        "0",
        "946684799",
        "1e308",
        "-1e308",
        "1e999",
        "\"NaN\"",
        "\"inf\"",
        "\"\"",
        "null",
        "true",
        "[1790000000]",
        "{\"n\": 1790000000}",
        "99999999999999999999999999999999999999",
        "\"x[$(touch /run/pwned)]\"",
    ];
    let mut texts: Vec<Vec<u8>> =
        values.iter().map(|value| format!("{{\"updated_at\": {value}}}").into_bytes()).collect();
    texts.push(format!("{{\"updated_at\": {}}}", ago(-2 * DAY)).into_bytes());
    texts.push(format!("{{\"updated_at\": \"{}\"}}", ago(-2 * DAY)).into_bytes());
    texts.extend(["{}", "", "[]", "null", "{\"updated_at\":", "updated_at = 5"].map(|text| text.as_bytes().to_vec()));
    texts.push(b"{\"updated_at\": \"\xff\xfe\"}".to_vec());
    texts.push("[".repeat(100_000).into_bytes());
    texts.push(format!("{{\"updated_at\": {}}}", "9".repeat(100_000)).into_bytes());
    for text in texts {
        for (mtime, expected) in [(ago(SERVER - 100), "stick"), (ago(SERVER + 100), "server")] {
            let won = winner(&server, &stick, |master| {
                master.file("meta.json", &text, mtime);
            });
            assert_eq!(won, expected, "{}", text.escape_ascii().take(200).collect::<Vec<_>>().escape_ascii());
        }
    }
    assert!(!Tree::at("/run").has("pwned"), "a command hidden in meta.json was run");
}

#[test]
fn a_time_up_to_a_day_ahead_is_readable() {
    let (server, stick) = strangers();
    let won = winner(&server, &stick, |master| {
        master.meta_text(&format!("{{\"updated_at\": {}}}", ago(-DAY / 2)), ago(5000));
    });
    assert_eq!(won, "stick");
}

#[test]
fn a_missing_meta_falls_back_to_the_newest_file() {
    let (server, stick) = strangers();
    assert_eq!(winner(&server, &stick, |_| {}), "server");
    let newer = |master: &Tree| {
        master.file("deep/er/b.csv", "", ago(SERVER - 100));
    };
    assert_eq!(winner(&server, &stick, newer), "stick");
}

#[test]
fn a_droppings_time_is_not_the_datasets() {
    let (server, stick) = strangers();
    let dropping = |master: &Tree| {
        master.file("Thumbs.db", "", ago(10)).file("sub/desktop.ini", "", ago(10));
    };
    assert_eq!(winner(&server, &stick, dropping), "server");
}

#[test]
fn a_fallback_time_out_of_bounds_counts_as_0() {
    for time in [ago(-2 * DAY), 946_684_799] {
        let (server, stick) = strangers();
        let won = winner(&server, &stick, |master| {
            master.file("a.csv", "stick", time);
        });
        assert_eq!(won, "server", "no meta.json, a file of {time}");
        let won = winner(&server, &stick, |master| {
            master.meta_text("garbage", time);
        });
        assert_eq!(won, "server", "garbage of {time}");
    }
}

#[test]
fn the_servers_meta_is_read_by_the_same_rules() {
    let (server, stick) = strangers();
    let stick_meta = |master: &Tree| {
        master.meta(ago(500));
    };
    server.master().meta_text("{\"updated_at\": 1e308}", ago(600));
    assert_eq!(winner(&server, &stick, stick_meta), "stick");
    server.master().meta_text("{\"updated_at\": 1e308}", ago(400));
    assert_eq!(winner(&server, &stick, stick_meta), "server");
    server.master().remove("meta.json");
    assert_eq!(winner(&server, &stick, stick_meta), "stick");
}

#[test]
fn a_meta_json_of_a_gigabyte_is_not_read_whole() {
    let (server, stick) = strangers();
    let huge = |master: &Tree| {
        File::create(master.path("meta.json")).unwrap().set_len(1 << 30).unwrap();
        common::tree::set_mtime(&master.path("meta.json"), ago(SERVER - 100));
    };
    assert_eq!(winner(&server, &stick, huge), "stick");
}

#[test]
fn a_meta_json_that_is_no_file_counts_as_missing() {
    let (server, stick) = strangers();
    stick.edit(|root| {
        root.file("elsewhere.json", format!("{{\"updated_at\": {}}}", ago(10)), ago(10));
    });
    let link = |master: &Tree| {
        master.link("meta.json", "../elsewhere.json");
    };
    assert_eq!(winner(&server, &stick, link), "server");
    let fifo = |master: &Tree| {
        master.remove("meta.json");
        tool("mkfifo", &[master.path("meta.json").to_str().unwrap()]);
    };
    assert_eq!(winner(&server, &stick, fifo), "server");
    let directory = |master: &Tree| {
        master.remove("meta.json").dir("meta.json/x");
    };
    assert_eq!(winner(&server, &stick, directory), "server");
}
