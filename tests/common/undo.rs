//! What the tests of `undo` share.

use std::process::Command;

use serde_json::Value;

use super::call::BINARY;
use super::{Call, Run, Server, Tree};

/// A command line of `undo`.
pub fn undo<'a>(server: &'a Server, arguments: &[&str]) -> Call<'a> {
    server.call(&[&["undo"], arguments].concat())
}

/// One that only looks, and succeeds.
pub fn looks(server: &Server, arguments: &[&str]) -> Run {
    let run = undo(server, arguments).finish();
    run.ended(0);
    run
}

/// The list, newest first.
pub fn list(server: &Server) -> Vec<Value> {
    serde_json::from_str(&looks(server, &["list", "--json"]).stdout).unwrap()
}

/// The newest run's name.
pub fn latest(server: &Server) -> String {
    list(server)[0]["when"].as_str().unwrap().to_owned()
}

/// A tree's lines without meta.json and without the directories' own times.
pub fn content(tree: &Tree) -> String {
    let snapshot = tree.snapshot();
    let lines = snapshot.lines().filter(|line| !line.starts_with("meta.json"));
    lines
        .map(|line| if line.contains(" 40755 ") { line.split(' ').next().unwrap() } else { line })
        .fold(String::new(), |text, line| text + line + "\n")
}

/// Runs it and kills it as it enters its n-th call of these system calls. `false`: it came to its end before.
pub fn killed_at(server: &Server, call: &str, number: usize, arguments: &[&str]) -> bool {
    let inject = format!("inject={call}:signal=SIGKILL:when={number}");
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={call}"), "-e", &inject, BINARY, "undo"]);
    command.args(arguments).env("SERVER_ROOT", server.path("")).env("TZ", "UTC");
    let output = command.output().expect("apt-get install strace");
    let killed = !output.status.success();
    assert!(!killed || output.status.code().is_none_or(|code| code > 128), "{output:?}");
    killed
}
