//! SPEC 6: meta.json is a person's or a program's file too: all but `updated_at` stays to the letter, and what can't be read is kept.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::lost::edit;
use common::{Server, Stick, ago, in_step};

/// The text without the digits of `updated_at`.
fn letters(text: &str, time: i64) -> String {
    assert_eq!(text.matches(&time.to_string()).count(), 1, "{text}");
    text.replace(&time.to_string(), "TIME")
}

const ODD_KEYS: [&str; 5] = [
    r#"{"zeta": 1, "revision": 12345678901234567890123, "price": 1.10, "alpha": 1e2, "updated_at": TIME}"#,
    r#"{"zeta": 9007199254740993, "neg": -0, "deep": {"b":1,"a":2}, "updated_at": TIME}"#,
    r#"{"note": "x", "small": 1e-7, "updated_at":TIME , "after": [1,  2]}"#,
    "{\r\n\t\"updated_at\" : TIME,\r\n\t\"by\": \"\u{4f50}\u{85e4}\", \"e\": \"\\u00e9\\/\"\r\n}\r\n",
    r#"{"deep": {"updated_at": "of something else"}, "updated_at": TIME, "twice": 1, "twice": 2}"#,
];

#[test]
fn all_but_the_time_stays_to_the_letter_on_both_sides_whoever_wins() {
    for text in ODD_KEYS {
        for winner in ["stick", "server"] {
            let (server, stick) = in_step();
            let (write, time) = (text.replace("TIME", &ago(60).to_string()), ago(60));
            if winner == "stick" {
                edit(&stick, "a.csv", "edited");
                stick.edit(|root| {
                    root.sub("master").meta_text(&write, time);
                });
            } else {
                server.master().file("a.csv", "edited", time).meta_text(&write, time);
            }
            server.run(&stick).done().outcome("master", &format!("{winner} wins"));
            let on_server = server.master().text("meta.json");
            let now = server.master().updated_at();
            assert!(now > time);
            assert_eq!(letters(&on_server, now), text, "{winner}");
            assert_eq!(stick.read(|root| root.text("master/meta.json")), on_server);
        }
    }
}

/// Everything that is a meta.json on the server, in undo/ or on the stick.
fn all_metas(server: &Server, stick: &Stick) -> Vec<String> {
    let below = |tree: &common::Tree| {
        let list = tree.files().into_iter().filter(|(path, _)| path.ends_with("meta.json"));
        list.map(|(_, text)| text).collect::<Vec<_>>()
    };
    let mut found = below(&server.tree());
    found.extend(stick.read(|root| below(root)));
    found
}

#[test]
fn a_meta_json_that_cannot_be_parsed_does_not_vanish() {
    for text in ["// made by hand\n{\"note\": \"Rev. C, approved\", \"updated_at\": 1790000000}\n", "Rev. C, approved"]
    {
        for side in ["stick", "server"] {
            let (server, stick) = in_step();
            edit(&stick, "a.csv", "edited");
            if side == "stick" {
                stick.edit(|root| {
                    root.sub("master").meta_text(text, ago(60));
                });
            } else {
                server.master().meta_text(text, ago(60));
            }
            let run = server.run(&stick).done();
            run.outcome("master", "stick wins");
            assert!(server.master().updated_at() >= ago(0), "{run}");
            let found = all_metas(&server, &stick);
            assert!(found.iter().any(|found| found == text), "{side}: {text:?} is in none of {found:?}\n{run}");
        }
    }
}
