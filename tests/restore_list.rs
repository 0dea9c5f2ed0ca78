//! Which snapshots and archives there are, what is in them, and how one file of them comes back (SPEC 7).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::site::{Site, archives, done, shell};
use common::{Call, Run, Tree, ago};
use serde_json::Value;

fn listed<'a>(site: &'a Site, arguments: &[&str]) -> Call<'a> {
    let mut all = vec!["restore", "--list"];
    all.extend(arguments);
    site.call(&all)
}

fn json(site: &Site, arguments: &[&str]) -> Vec<Value> {
    let run = listed(site, arguments).flag("--json").finish();
    run.ended(0);
    serde_json::from_str::<Value>(&run.stdout).unwrap().as_array().unwrap().clone()
}

fn column(items: &[Value], key: &str) -> Vec<String> {
    items.iter().map(|item| item[key].to_string().trim_matches('"').to_owned()).collect()
}

/// Three versions of a drawing in three snapshots, of which two went to the stick.
fn three_days() -> Site {
    let site = Site::new();
    for (day, content) in [(3, "first"), (2, "second"), (1, "third")] {
        site.server.docviewer().file("図面/パネル[旧].pdf", content, ago(86_400 * day));
        site.snapshot_of(u32::try_from(day).unwrap());
        if day < 3 {
            done(site.backup().clock(&format!("-{day}d")), "backup export completed");
        }
    }
    site
}

/// As an operator does it: look, choose, bring back, and see that it is the one.
#[test]
fn one_drawing_of_an_earlier_day_is_found_and_brought_back() {
    let site = three_days();
    let device = site.stick.device();
    // A Mac takes a kana apart.
    for pattern in [
        "*パネル*",
        "docviewer/図面/*.PDF",
        "パネル[旧].pdf",
        "./docviewer/図面/",
        "docviewer/図面/ハ\u{309a}ネル[旧].pdf",
    ] {
        let snapshots = json(&site, &[pattern]);
        let is_it = |file: &Value| file["path"] == "docviewer/図面/パネル[旧].pdf";
        let with_it = snapshots.iter().filter(|item| item["files"].as_array().unwrap().iter().any(is_it));
        assert_eq!(with_it.count(), 3, "{pattern}: {snapshots:?}");
    }
    let found = json(&site, &["--device", device, "*パネル*"]);
    assert_eq!(
        (column(&found, "number"), column(&found, "kind")),
        (vec!["3".to_owned(), "4".to_owned()], vec!["archive".to_owned(); 2])
    );
    let [first, _] = &found[..] else { panic!("{found:?}") };
    let bytes: Vec<u64> = found.iter().map(|item| item["files"][0]["bytes"].as_u64().unwrap()).collect();
    assert_eq!(bytes, [6, 5]);

    let dir = tempfile::tempdir().unwrap();
    let dest = dir.path().join("found");
    let name = first["name"].as_str().unwrap();
    let restore = |from: &[&str], dest: &std::path::Path| {
        let mut arguments = vec!["restore", "--only", "*パネル*", "--dest", dest.to_str().unwrap()];
        arguments.extend(from);
        let run = done(site.call(&arguments), "restore completed dest=");
        assert!(run.stderr.contains(" files=1 (of "), "{run}");
        let tree = Tree::at(dest);
        assert_eq!(tree.files().len(), 1);
        tree.text("docviewer/図面/パネル[旧].pdf")
    };
    assert_eq!(restore(&["--device", device, "--archive", name], &dest), "second");
    // And from the server's own disk, by the name in the list.
    let snapshots = json(&site, &["*パネル*"]);
    let name = snapshots[0]["name"].as_str().unwrap();
    assert_eq!(restore(&["--snapshot", name], &dir.path().join("other")), "first");
}

#[test]
fn the_list_says_number_time_server_size_and_whether_it_can_be_proved() {
    let site = three_days();
    let id = site.server.tree().text(".toolmaster/server-id");
    // The original system's: no manifest.
    let (_dir, root) = {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("2020-01-01_023000");
        std::fs::create_dir_all(root.join("master")).unwrap();
        std::fs::write(root.join("master/old.csv"), "old").unwrap();
        shell(dir.path(), "tar --zstd -cf old.tar.zst 2020-01-01_023000");
        (dir, root)
    };
    let bytes = std::fs::read(root.with_file_name("old.tar.zst")).unwrap();
    site.stick.edit(|root| {
        root.file("2020-01-01_full.tar.zst", &bytes, ago(60)).file("2020-01-02_full.tar.zst", "no archive", ago(60));
    });
    let before = site.stick.bytes();
    let device = site.stick.device();
    let items = json(&site, &["--device", device]);
    assert_eq!(items.len(), 4);
    let of = |state: &str| items.iter().filter(|item| item["state"] == state).collect::<Vec<_>>();
    let [old, new] = of("unread")[..] else { panic!("{items:?}") };
    assert_eq!((&new["server"], &new["number"]), (&Value::from(id.trim()), &Value::from(4)));
    assert!(new["unix"].as_i64() > old["unix"].as_i64() && new["bytes"].as_u64() > Some(100));
    assert_eq!(
        (of("unproven")[0]["name"].as_str(), of("unproven")[0]["number"].as_u64()),
        (Some("2020-01-01_full.tar.zst"), None)
    );
    assert!(of("damaged")[0]["why"].as_str().unwrap().contains("is damaged"));
    // With --check all of each is read.
    let checked = json(&site, &["--device", device, "--check"]);
    assert_eq!(checked.iter().filter(|item| item["state"] == "sound").count(), 2);
    let text = listed(&site, &["--device", device]).finish();
    text.ended(0);
    for words in [" 4  20", "UNPROVEN", "NOT USABLE: ", id.trim()] {
        assert!(text.stdout.contains(words), "{words}: {text}");
    }
    assert!(site.stick.bytes() == before, "a list changes nothing");

    // A rotten one is found where it is read.
    site.stick.edit(|root| {
        let path = root.path(archives(root).pop().unwrap());
        let mut bytes = std::fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(path, bytes).unwrap();
    });
    let checked = json(&site, &["--device", device, "--check"]);
    assert_eq!(checked.iter().filter(|item| item["state"] == "damaged").count(), 2);

    let snapshots = json(&site, &[]);
    assert_eq!(column(&snapshots, "number"), ["1", "2", "3", "4"]);
    let one = json(&site, &["--snapshot", snapshots[0]["name"].as_str().unwrap(), "--check"]);
    assert_eq!(column(&one, "state"), ["sound"]);
}

#[test]
fn what_is_not_there_is_said_with_a_hint_and_leaves_nothing() {
    let site = Site::new();
    let says = |run: Run, words: &str| assert!(run.stderr.contains(words), "{run}");
    says(listed(&site, &["nix*"]).fails(3), "no file nix* is in any of them -> try a part of its name");
    let dir = tempfile::tempdir().unwrap();
    let dest = dir.path().join("dest");
    let arguments = |only| vec!["restore", "--snapshot", "latest", "--dest", dest.to_str().unwrap(), "--only", only];
    let run = site.call(&arguments("master/nix.csv")).fails(3);
    says(run, "look for it with a part of its name: toolmaster restore --list '*NAME*'");
    // The same place takes the next try.
    done(site.call(&arguments("MASTER/a.csv")), "restore completed dest=");
    assert_eq!(Tree::at(&dest).files().len(), 1);
    for wrong in [
        &["restore", "nix"][..],
        &["restore", "--json"],
        &["restore", "--list", "--dest", "/x"],
        &["restore", "--list", "--device", "/x", "--snapshot", "y"],
    ] {
        site.call(wrong).fails(64);
    }
    let empty = Site::without_tables(common::Server::new());
    says(listed(&empty, &[]).fails(3), "there is nothing to restore from");
}
