//! Manifests and meta.json that lie or explode.

use crate::common::call::Call;
use crate::common::{Server, Stick, Tree, ago, in_step, sample, sample_master};
use crate::{Outside, edited, made};

const MANIFEST: &str = ".toolmaster/manifest.json";

type Make = fn(&Tree);

/// An ingest may not be led astray by them: what was edited arrives, and nothing else changes.
#[test]
fn an_ingest_is_not_led_astray() {
    let header = r#"{"version":1,"state":"complete","server":"s","runs":{"master":"r"},"files":["#;
    let deep = "[".repeat(60_000);
    let entry = |path: &str| format!(r#"{{"path":"{path}","size":2,"mtime_ns":0,"sha256":"{}"}},"#, "0".repeat(64));
    let cases: [(&str, &str, String); 11] = [
        ("manifest of another server's run", MANIFEST, format!("{header}\n{{\"count\":0}}]}}\n")),
        (
            "manifest that leads out of the stick",
            MANIFEST,
            format!("{header}\n{}\n{{\"count\":1}}]}}\n", entry("../../etc/passwd")),
        ),
        ("manifest with wrong hashes", MANIFEST, format!("{header}\n{}\n{{\"count\":1}}]}}\n", entry("master/a.csv"))),
        ("manifest nested 60,000 deep", MANIFEST, format!("{header}\n{deep}\n")),
        ("manifest whose first line is nested 60,000 deep", MANIFEST, deep.clone()),
        ("manifest with a line of 10 MB", MANIFEST, format!("{header}\n{}\n", "x".repeat(10 << 20))),
        (
            "manifest of 100,000 files",
            MANIFEST,
            (0..100_000)
                .fold(format!("{header}\n"), |text, number| text + &entry(&format!("master/{number:06}")) + "\n")
                + "{\"count\":100000}]}\n",
        ),
        ("meta.json nested 60,000 deep", "master/meta.json", deep),
        (
            "meta.json with 5,000 keys",
            "master/meta.json",
            format!("{{{}\"updated_at\": 1}}", (0..5000).map(|n| format!("\"k{n}\":1,")).collect::<String>()),
        ),
        (
            "meta.json with a number of 60,000 digits",
            "master/meta.json",
            format!("{{\"updated_at\": {}}}", "9".repeat(60_000)),
        ),
        ("meta.json of the year 9999", "master/meta.json", r#"{"updated_at": 253402300799}"#.to_owned()),
    ];
    for (case, name, text) in cases {
        let outside = Outside::fresh();
        let (server, stick) = edited(|root| {
            root.sub("master").meta(ago(60));
            root.file(name, &text, ago(50));
        });
        outside.watch(case, server.run(&stick), 0, "master: stick wins");
        let mut expected = sample_master();
        expected.insert("a.csv".to_owned(), "edited".to_owned());
        assert_eq!(server.master().files(), expected, "{case}");
        assert!(server.master().updated_at() < ago(-86_400), "{case}: the future was believed");
    }
}

/// A terminal takes a stick whole or keeps its own.
#[test]
fn a_terminal_keeps_its_own() {
    let cases: [(&str, Make, i32, &str); 6] = [
        (
            "dist-sync: a file of another size",
            |root| made(root.file("master/b.csv", "longer", ago(60))),
            2,
            "has another size",
        ),
        (
            "dist-sync: a file of another content",
            |root| made(root.file("master/a.csv", "XX", ago(60))),
            2,
            "is not what the server wrote",
        ),
        ("dist-sync: a file is missing", |root| made(root.remove("master/b.csv")), 2, "is missing"),
        (
            "dist-sync: an incomplete stick that says nothing else",
            |root| {
                let text = root.text(MANIFEST).replace("complete", "incomplete");
                root.file(MANIFEST, text, ago(60));
            },
            2,
            "the stick is not whole",
        ),
        (
            "dist-sync: a manifest that leads out of the stick",
            |root| {
                let text = root.text(MANIFEST).replace("master/a.csv", "../master/a.csv");
                root.file(MANIFEST, text, ago(60));
            },
            2,
            "not a sound manifest",
        ),
        (
            "dist-sync: a manifest of another count",
            |root| {
                let text = root.text(MANIFEST).replace("\"count\":", "\"count\":1");
                root.file(MANIFEST, text, ago(60));
            },
            2,
            "not a sound manifest",
        ),
    ];
    let (server, stick) = (Server::new(), Stick::blank("TM-DIST", 32));
    sample(&server.tree(), ago(3600));
    stick.edit(|root| made(root.file(".toolmaster/role", "DIST\n", ago(60))));
    Call::new(&server, &["dist-export", "--device", stick.device()], Some(&stick)).finish().ended(0);
    for (case, lie, code, says) in cases {
        let (outside, terminal, lying) = (Outside::fresh(), Server::new(), stick.copy());
        lying.edit(lie);
        let call = Call::new(&terminal, &["dist-sync", "--device", lying.device()], Some(&lying));
        let place = |name| terminal.path("opt").join(name);
        terminal.tree().sub("opt/master").file("own.csv", "own", ago(60));
        let call = call.var("LOCAL_MASTER_DIR", place("master")).var("LOCAL_DOC_DIR", place("docviewer"));
        outside.watch(case, call, code, says);
        assert_eq!(terminal.tree().sub("opt/master").files(), crate::common::files([("own.csv", "own")]), "{case}");
    }
}

#[test]
fn a_verification_names_what_lies() {
    let (outside, (server, stick)) = (Outside::fresh(), in_step());
    stick.edit(|root| made(root.file("master/b.csv", "XX", ago(60))));
    let call = Call::new(&server, &["stick", "verify", "--device", stick.device()], Some(&stick));
    outside.watch("stick verify: a file of another content", call, 2, "edited or damaged");
}
