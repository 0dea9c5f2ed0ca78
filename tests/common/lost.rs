//! What is said of lost content and where it is kept (SPEC 6): `undo list`, `jobs.jsonl`, `RESULT.txt`, `status`.

use serde_json::Value;

use super::undo::list;
use super::{Run, Server, Stick, Tree, ago, sample};

/// The entries of `undo list` that tell of lost content which nobody has acknowledged, newest first.
pub fn flagged(server: &Server) -> Vec<Value> {
    let mut runs = list(server);
    runs.retain(|run| is_lost(run) && run["acknowledged"] != true);
    runs
}

/// Whether an entry of `undo list` tells of lost content: a mark, or the number of files.
pub fn is_lost(run: &Value) -> bool {
    let lost = &run["lost"];
    lost.as_bool().or_else(|| lost.as_u64().map(|count| count > 0)).unwrap_or_else(|| panic!("no `lost`: {run}"))
}

/// Everything that undo/ keeps of a file, such as `master/a.csv`, whatever run it is from.
pub fn kept_texts(server: &Server, name: &str) -> Vec<String> {
    let ending = format!("/{name}");
    let kept = server.tree().sub("undo").files();
    kept.into_iter().filter(|(path, _)| path.ends_with(&ending)).map(|(_, text)| text).collect()
}

/// The run calls these files of a dataset lost, and no other; what they held is where it says.
pub fn assert_lost(server: &Server, run: &Run, dataset: &str, lost: &[(&str, &str)]) {
    let said = &run.job["datasets"][dataset];
    assert_eq!(said["lost"], lost.len(), "{dataset}\n{run}");
    let place = said["lost_in"].to_string();
    let told = flagged(server);
    let named: Vec<&str> =
        told.iter().filter_map(|kept| kept["when"].as_str()).filter(|when| place.contains(when)).collect();
    assert!(!named.is_empty(), "lost_in {place} is none of {told:?}\n{run}");
    for (name, text) in lost {
        let holds = |when: &&str| {
            let kept = server.tree().sub("undo").sub(when).sub(dataset).files();
            kept.get(*name).is_some_and(|found| found == text)
        };
        assert!(named.iter().any(holds), "{name:?} with {text:?} is not kept in {place}\n{run}");
    }
}

/// The receipt on the stick names these files and the run in undo/ that keeps them.
pub fn assert_told_on(stick: &Stick, run: &Run, dataset: &str, names: &[&str]) {
    let receipt = stick.read(|root| root.text("RESULT.txt"));
    for name in names {
        assert!(receipt.contains(name), "{name} is not in the receipt\n{receipt}\n{run}");
    }
    let place = run.job["datasets"][dataset]["lost_in"].to_string();
    let times = |text: &str| text.split(['/', '"', ' ', ',', '[', ']']).map(str::to_owned).collect::<Vec<_>>();
    let told = times(&place).iter().any(|word| word.starts_with("20") && receipt.contains(word.as_str()));
    assert!(told, "the receipt does not say that they are in {place}\n{receipt}");
}

/// Nobody is told of a loss: neither by the run, nor by undo, nor by the status.
pub fn assert_nothing_lost(server: &Server, run: &Run) {
    for dataset in ["master", "docviewer"] {
        let lost = &run.job["datasets"][dataset]["lost"];
        assert!(lost.is_null() || lost == 0, "{dataset}: a false alarm\n{run}");
    }
    assert_eq!(flagged(server), [] as [Value; 0], "a false alarm\n{run}");
    assert_ne!(status_of_lost(server).0, "bad", "a false alarm\n{run}");
}

/// What a person wrote is live on the server, or kept in undo/ and somebody was told.
pub fn assert_live_or_told(server: &Server, dataset: &str, name: &str, text: &str) {
    let live = server.tree().sub(dataset).files().get(name).is_some_and(|found| found == text);
    let kept = flagged(server).iter().any(|run| {
        let when = run["when"].as_str().unwrap();
        let held = server.tree().sub("undo").sub(when).sub(dataset).files();
        held.get(name).is_some_and(|found| found == text)
    });
    assert!(live || kept, "{dataset}/{name}: {text:?} is neither live nor told of: {:?}", list(server));
}

/// The verdict of the status on lost content, and the keys of all that is bad.
pub fn status_of_lost(server: &Server) -> (String, Vec<String>) {
    let run = server.call(&["status", "--json"]).var("MIRRORCTL_CONFIG", "/nonexistent/config.json").finish();
    let json: Value = serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{error}: {run}"));
    let checks = json["checks"].as_array().unwrap();
    let text = |check: &Value, key: &str| check[key].as_str().unwrap().to_owned();
    let bad: Vec<_> = checks.iter().filter(|check| check["verdict"] == "bad").map(|check| text(check, "key")).collect();
    assert!(bad.is_empty() || run.code == Some(1), "{run}");
    let found = checks.iter().find(|check| text(check, "key").contains("lost"));
    (text(found.unwrap_or_else(|| panic!("no check of lost content\n{run}")), "verdict"), bad)
}

/// One more stick that has what the server has, as a run an hour ago left it. Nothing on it before was newer than the server's.
pub fn another_stick(server: &Server) -> Stick {
    let stick = Stick::ingest();
    stick.edit(|root| sample(root, ago(30 * super::DAY)));
    stick.edit(|root| {
        root.sub("master").file("a.csv", "a0", ago(30 * super::DAY));
        root.sub("docviewer").file("plan.pdf", "p0", ago(30 * super::DAY));
    });
    server.run(&stick).clock("-3000").done().outcome("master", "server wins").outcome("docviewer", "server wins");
    stick
}

/// The files of a stick's dataset.
pub fn on_stick(stick: &Stick, dataset: &str) -> std::collections::BTreeMap<String, String> {
    stick.read(|root| root.sub(dataset).files())
}

/// A tree's lines without meta.json and the directories.
pub fn files_alone(tree: &Tree) -> String {
    let snapshot = tree.snapshot();
    snapshot
        .lines()
        .filter(|line| !line.starts_with("meta.json") && line.contains(" 100"))
        .collect::<Vec<_>>()
        .join("\n")
}

/// Runs an ingest that writes many entries to the stick, and pulls the stick in the middle of it: what the medium holds then.
pub fn pull_in_write_back(server: &Server, stick: &Stick) -> Stick {
    let mut run = server.run(stick).start();
    let place = super::stop_in_write_back(&mut run, stick);
    rustix::fs::syncfs(std::fs::File::open(&place).unwrap()).unwrap();
    let pulled = stick.copy();
    run.signal(rustix::process::Signal::KILL);
    run.reap();
    rustix::mount::unmount(&place, rustix::mount::UnmountFlags::DETACH).unwrap();
    pulled
}

/// A person edits a file of `master` on a stick and forgets meta.json.
pub fn edit(stick: &Stick, name: &str, text: &str) {
    stick.edit(|root| {
        root.sub("master").file(name, text, ago(60));
    });
}

/// The stick brings an edited `b.csv`, a new file and a deletion; `a.csv` stays as it is.
pub fn exchange(server: &Server, stick: &Stick) -> Run {
    stick.edit(|root| {
        root.sub("master").file("b.csv", "edited", ago(60)).file("new.csv", "n", ago(60)).remove("sub/c.csv");
    });
    let run = server.run(stick).done();
    run.outcome("master", "stick wins");
    run
}
