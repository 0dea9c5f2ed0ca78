//! `toolmaster status`: each verdict is made bad by really causing it. What systemd would say (timers, failed units) is for the
//! booted image; where there is no systemd those lines are not in use.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::sync::Mutex;

use common::pi_zero;
use common::postgres::{free_port, postgres};
use common::site::Site;
use common::{Run, ago, sample, tool};
use serde_json::Value;

/// A drill drops the scratch databases that others left on the server, and all sites here share one: one drill at a time.
static ONE_DRILL: Mutex<()> = Mutex::new(());

fn drill(site: &Site) -> common::call::Call<'_> {
    site.call(&["restore-drill"])
}

fn drilled(call: common::call::Call<'_>) {
    let _one = ONE_DRILL.lock();
    call.finish().ended(0);
}

/// A site with data that came on a stick, a snapshot, a backup and a restore drill. On a disk of its own: how full this machine's
/// is must not be told of.
fn well() -> Site {
    let site = Site::on(common::Server::on_disk(256));
    let stick = common::Stick::ingest();
    stick.edit(|root| sample(root, ago(60)));
    site.server.run(&stick).flag("--force").done();
    site.server.call(&["undo", "acknowledge", "all"]).finish().ended(0);
    site.snapshot();
    site.backup().finish().ended(0);
    drilled(drill(&site));
    site
}

fn status(site: &Site) -> common::call::Call<'_> {
    // No mirror, and none of this machine's.
    site.call(&["status"]).var("MIRRORCTL_CONFIG", "/nonexistent/config.json")
}

/// It says of this thing that it is bad, with such words, in both forms and by its exit code; nothing else is.
fn only_bad<'a>(call: impl Fn() -> common::call::Call<'a>, key: &str, words: &str) -> Value {
    let run = call().finish();
    run.ended(1);
    let bad: Vec<&str> = run.stdout.lines().filter(|line| line.starts_with("[要対応]")).collect();
    assert!(bad.len() == 1 && bad[0].contains(words), "{words}: {run}");
    assert!(run.stdout.contains("\n         → "), "{run}");
    assert!(run.stderr.contains("対応が要る項目が 1 件あります -> "), "{run}");
    let run = call().flag("--json").finish();
    run.ended(1);
    let json: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(json["healthy"], false, "{run}");
    let checks = json["checks"].as_array().unwrap();
    let bad: Vec<&Value> = checks.iter().filter(|check| check["verdict"] == "bad").collect();
    assert_eq!(bad.len(), 1, "{run}");
    assert_eq!(bad[0]["key"], key, "{run}");
    assert!(!bad[0]["next"].as_str().unwrap().is_empty(), "{run}");
    bad[0].clone()
}

fn healthy(run: &Run) {
    run.ended(0);
    assert!(!run.stdout.contains("要対応"), "{run}");
}

#[test]
fn a_server_that_is_well() {
    let site = well();
    let before = site.server.tree().snapshot();
    let run = status(&site).finish();
    healthy(&run);
    for line in [
        "[正常  ] サーバのデータ: ",
        "[正常  ] 取り込み: ",
        "[正常  ] バックアップ: ",
        "[－    ] ミラー比較: 使っていません",
    ] {
        assert!(run.stdout.contains(line), "{line}: {run}");
    }
    assert_eq!(site.server.tree().snapshot(), before, "it changes nothing");
    let run = status(&site).flag("--json").finish();
    let json: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(json["healthy"], true, "{run}");
}

#[test]
fn old_snapshots_backups_and_drills() {
    let site = well();
    only_bad(|| status(&site).clock("+27h"), "snapshot", "26 時間より古い");
    // Each younger than its limit, but the one.
    site.call(&["snapshot"]).clock("+40d").finish().ended(0);
    drilled(drill(&site).clock("+40d"));
    let found = only_bad(|| status(&site).clock("+40d"), "backup", "35 日より古い");
    assert!(found["text"].as_str().unwrap().contains("40 日前"), "{found}");
    healthy(&status(&site).clock("+40d").var("STATUS_BACKUP_DAYS", "41").finish());
    site.backup().clock("+40d").finish().ended(0);
    healthy(&status(&site).clock("+40d").finish());
    site.call(&["snapshot"]).clock("+56d").finish().ended(0);
    site.backup().clock("+56d").finish().ended(0);
    only_bad(|| status(&site).clock("+56d"), "restore_drill", "15 日より古い");
}

#[test]
fn a_run_that_failed_is_told_with_its_own_advice() {
    let site = well();
    site.stick.edit(|root| {
        root.file(".toolmaster/role", "DIST\n", ago(60));
    });
    site.backup().fails(2);
    let found = only_bad(|| status(&site), "backup", "は終わっていません(断った)");
    let next = found["next"].as_str().unwrap();
    assert!(
        !next.contains("ログを確認して") && next.ends_with("(RUNBOOK 5 章の表に、この行の意味があります)"),
        "{found}"
    );
}

#[test]
fn the_database_is_down() {
    let site = well();
    let uri = format!("postgresql://nobody:secret-word@127.0.0.1:{}/none", free_port());
    let found = only_bad(|| status(&site).var("PG_URI", &uri), "database", "psql failed");
    assert!(!found.to_string().contains("secret-word"), "{found}");
}

#[test]
fn the_disk_is_full() {
    let site = Site::without_tables(common::Server::on_disk(64));
    sample(&site.server.tree(), ago(3600));
    let stick = common::Stick::ingest();
    stick.edit(|root| sample(root, ago(60)));
    site.server.run(&stick).done();
    site.snapshot();
    site.database.psql("CREATE TABLE t (n int)");
    site.snapshot();
    site.backup().finish().ended(0);
    healthy(&status(&site).finish());
    tool("fallocate", &["-l", "48M", site.server.path("filler").to_str().unwrap()]);
    only_bad(|| status(&site), "disk", "10 % より少ない");
}

#[test]
fn lost_edits_stay_until_they_are_seen() {
    let site = well();
    let stick = common::stick_in_step(&site.server);
    stick.edit(|root| {
        root.sub("master").file("a.csv", "edited on the PC", ago(60));
    });
    site.server.master().file("b.csv", "on the server", ago(50)).meta(ago(-60));
    site.server.run(&stick).done();
    site.snapshot();
    only_bad(|| status(&site), "lost_edits", "1 回分");
    site.call(&["undo", "acknowledge", "all"]).finish().ended(0);
    healthy(&status(&site).finish());
}

#[test]
fn a_dataset_is_gone() {
    let site = well();
    std::fs::remove_dir_all(site.server.path("master")).unwrap();
    only_bad(|| status(&site), "data", "master が空です");
}

#[test]
fn a_clock_that_is_not_believed() {
    let site = well();
    std::fs::write(site.server.path(".toolmaster/clock-seen"), ago(-7200).to_string()).unwrap();
    let found = only_bad(|| status(&site), "clock", "は信じられません");
    assert!(found["next"].as_str().unwrap().contains("clock confirm"), "{found}");
}

#[test]
fn the_mirror_s_counter() {
    let site = pi_zero::Site::with_databases();
    site.mirrorctl("enable").finish().ended(0);
    site.compare().finish().ended(0);
    let line = |wanted: &str| {
        let run = site.call(&["status"]).start().wait();
        let line = run.stdout.lines().find(|line| line.contains("ミラー比較")).unwrap().to_owned();
        assert!(line.contains(wanted), "{wanted}: {run}");
        line
    };
    assert!(line("OK 1 / 14").starts_with("[正常  ]"));
    postgres().psql(&site.databases.as_ref().unwrap()[1].name, "DELETE FROM part_locations");
    site.compare().fails(2);
    assert!(line("OK 0 / 14").starts_with("[要対応]"));
}

#[test]
fn a_new_server_has_nothing_to_show_yet() {
    let site = Site::without_tables(common::Server::new());
    let run = status(&site).finish();
    run.ended(1);
    for line in [
        "[－    ] 取り込み: まだありません",
        "[要対応] スナップショット: 1 つもありません",
        "[要対応] バックアップ: まだ 1 つもありません",
    ] {
        assert!(run.stdout.contains(line), "{line}: {run}");
    }
}
