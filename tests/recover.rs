//! A dead server replaced by its backup stick: the new one holds every file and every table of the old one, once, with the
//! operator's consent, and never a server that holds anything.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::fs;
use std::path::Path;

use common::recovery::{all_of, archives_of, backed_up, consent, files, fresh, id, made};
use common::site::{Site, archives, done, shell};
use common::{Call, Run, Stick, Tree, ago, assert_unchanged, tool};

fn plug<'a>(site: &'a Site, stick: &Stick) -> Call<'a> {
    site.call(&["backup", "--device", stick.device()])
}

fn recovers(site: &Site, stick: &Stick) -> Run {
    done(plug(site, stick), "recovery completed archive=")
}

fn receipt(stick: &Stick) -> String {
    stick.read(|root| root.text("RESULT.txt"))
}

fn nothing_is_under_way(site: &Site) -> bool {
    common::entries(&site.server.path(".toolmaster/recovery")) == 0
}

/// Nothing of a recovery is left, on the server and on the stick.
fn assert_over(site: &Site, stick: &Stick) {
    assert!(nothing_is_under_way(site));
    stick.read(|root| {
        assert!(root.has("RESTORE-done.txt") && !root.has("RESTORE"), "{}", root.snapshot());
        assert!(!root.has(".toolmaster/tmp"));
    });
}

#[test]
fn a_fresh_server_becomes_the_old_one_once() {
    let (old, new) = (backed_up(), fresh());
    let stick = &old.stick;
    // A stick without the consent restores nothing, and a new server's backup does not go to it.
    new.call(&["snapshot"]).finish().ended(0);
    let before = archives_of(stick);
    plug(&new, stick).fails(2);
    assert!(new.server.master().files().is_empty());

    consent(stick);
    let own = id(&new.server);
    let run = recovers(&new, stick);
    assert_unchanged(&all_of(&old), &all_of(&new));
    assert_ne!(own, id(&new.server));
    assert_unchanged(&before, &archives_of(stick));
    assert_over(&new, stick);
    assert_eq!((&run.job["job"], &run.job["result"]), (&"recover".into(), &"done".into()), "{run}");
    let text = receipt(stick);
    let archive = old.archive().1;
    for line in [
        "RaspberryPiServer の結果: 完了",
        "作業: サーバー交換",
        &format!("{archive} からサーバを元に戻しました。ファイル "),
        &format!("({})", id(&old.server).trim()),
        "RUNBOOK の「サーバー交換」の続き",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }

    // Put in again it takes a backup, of what the server holds then.
    new.server.master().file("new.csv", "later", ago(1));
    new.snapshot();
    let run = done(plug(&new, stick), "backup export completed archive=");
    assert!(!run.stderr.contains("recover"), "{run}");
    assert_eq!(new.server.master().text("new.csv"), "later");
    assert!(receipt(stick).contains("作業: バックアップ"));
}

/// An ext4 stick can't be written to on a PC with Windows.
#[test]
fn consent_is_given_on_the_command_line_too() {
    let (old, new) = (backed_up(), fresh());
    let by_hand = || new.call(&["recover", "--device", old.stick.device()]);
    new.server.master().file("own.csv", "own", ago(50));
    assert!(by_hand().fails(2).stderr.contains("this server holds data already"));
    new.server.master().remove("own.csv");
    done(by_hand(), "recovery completed archive=");
    assert_unchanged(&all_of(&old), &all_of(&new));
    assert!(receipt(&old.stick).contains("の結果: 完了") && nothing_is_under_way(&new));
    by_hand().fails(2);
}

#[test]
fn consent_is_a_file_of_that_name() {
    let old = backed_up();
    for name in ["RESTORE", "restore.TXT", "RESTORE.txt.txt", "Restore.rtf"] {
        let (new, stick) = (fresh(), old.stick.copy());
        stick.edit(|root| {
            root.file(name, "はい", ago(5)).file("RESTORE-done.txt", "before", ago(5));
        });
        recovers(&new, &stick);
        assert_unchanged(&files(&old.server), &files(&new.server));
        stick.read(|root| {
            assert!(!root.has(name), "{name}");
            assert_eq!(root.text("RESTORE-done.txt") + &root.text("RESTORE-done-2.txt"), "beforeはい");
        });
    }
    let new = fresh();
    for make in [
        (|root: &Tree| made(root.dir("RESTORE"))) as fn(&Tree),
        |root| made(root.file("RESTORE/RESTORE", "", ago(5))),
        |root| made(root.link("RESTORE", ".toolmaster/role")),
        |root| made(root.link("restore.txt", "/etc/hostname")),
        |root| {
            made(root.file("NO RESTORE.txt", "", ago(5)).file("RESTORE-done.txt", "", ago(5)).file(
                "._RESTORE.txt",
                "",
                ago(5),
            ))
        },
        |root| made(root.file("docs/RESTORE", "", ago(5))),
    ] {
        let stick = old.stick.copy();
        stick.edit(make);
        let before = stick.read(Tree::snapshot);
        // Another server's stick, and nothing to back up.
        let run = plug(&new, &stick).finish();
        assert_ne!(run.code, Some(0), "{run}");
        assert!(new.server.master().files().is_empty() && !run.stderr.contains("verifying"), "{run}");
        assert_eq!(stick.read(Tree::snapshot), before);
    }
}

#[test]
fn a_server_that_holds_anything_is_never_made_another() {
    let old = backed_up();
    type Fill = fn(&Site);
    let cases: [(&str, Fill); 5] = [
        ("there are files in ", |site| made(site.server.master().file("own.csv", "own", ago(50)))),
        ("there are files in ", |site| made(site.server.docviewer().file("a/b.pdf", "", ago(50)))),
        ("keeps data of before", |site| {
            made(site.server.tree().file("undo/2026-01-31_023000/master/a.csv", "a", ago(50)))
        }),
        ("there is the snapshot ", |site| {
            site.server.master().file("own.csv", "own", ago(50));
            site.snapshot();
            site.server.master().remove("own.csv");
        }),
        ("is not empty", |site| drop(site.database.psql("CREATE TABLE own (a int)"))),
    ];
    for (why, fill) in cases {
        let (new, stick) = (fresh(), old.stick.copy());
        fill(&new);
        consent(&stick);
        let before = (
            archives_of(&stick),
            files(&new.server),
            new.database.psql("SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace"),
        );
        let run = plug(&new, &stick).fails(2);
        let line = "this server holds data already, so nothing was restored: ";
        assert!(run.stderr.contains(line) && run.stderr.contains(why), "{why}: {run}");
        let text = receipt(&stick);
        assert!(text.contains("の結果: 失敗") && text.contains(&format!("サーバには戻していません: {line}")), "{text}");
        assert_eq!(text.matches(line).count(), 1, "{text}");
        let after = (
            archives_of(&stick),
            files(&new.server),
            new.database.psql("SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace"),
        );
        assert_eq!(before, after, "{why}");
        assert_ne!(id(&new.server), id(&old.server));
        assert!(stick.read(|root| root.has("RESTORE") && !root.has("RESTORE-done.txt")));
        assert!(!new.server.tree().has("restored-settings"));
    }
    // The old server itself, with the consent left in.
    consent(&old.stick);
    let before = all_of(&old);
    plug(&old, &old.stick).fails(2);
    assert_unchanged(&before, &all_of(&old));
}

#[test]
fn a_server_with_nothing_but_droppings_and_empty_snapshots_is_empty() {
    let (old, new) = (backed_up(), fresh());
    new.server.master().file("meta.json", "{\"updated_at\": 1700000000}", ago(50)).file("Thumbs.db", "x", ago(50));
    new.server.docviewer().dir("empty/sub");
    new.snapshot();
    consent(&old.stick);
    recovers(&new, &old.stick);
    assert_unchanged(&all_of(&old), &all_of(&new));
}

/// A stick with an older and a newer archive, and the files that the older one holds.
fn two_archives() -> (Site, String) {
    let site = Site::new();
    site.snapshot_of(2);
    done(site.backup().clock("-2d"), "backup export completed");
    let older = files(&site.server);
    site.server.master().file("newer.csv", "newer", ago(5));
    site.snapshot();
    done(site.backup(), "backup export completed");
    assert_eq!(site.stick.read(archives).len(), 2);
    (site, older)
}

/// A bit in the middle of each of the archives is turned over.
fn damage(stick: &Stick, names: &[String]) {
    stick.edit(|root| {
        for name in names {
            let mut bytes = fs::read(root.path(name)).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 4;
            fs::write(root.path(name), bytes).unwrap();
        }
    });
}

#[test]
fn a_damaged_archive_gives_way_to_an_older_one() {
    let (old, older) = two_archives();
    let names = old.stick.read(archives);
    damage(&old.stick, &names[1..]);
    consent(&old.stick);
    let new = fresh();
    let run = recovers(&new, &old.stick);
    assert!(run.stderr.contains(&format!("{} is not sound, so an older one is looked for", names[1])), "{run}");
    assert_unchanged(&older, &files(&new.server));
    assert_eq!(id(&old.server), id(&new.server));
    let text = receipt(&old.stick);
    assert!(text.contains(&format!("{} は壊れているので、使っていません", names[1])), "{text}");
    assert!(text.contains(&format!("{} からサーバを元に戻しました", names[0])), "{text}");
}

/// A wrong digit in the file beside it makes no archive worse whose manifest proves each of its files.
#[test]
fn a_wrong_checksum_beside_a_proved_archive_brings_no_older_state() {
    let (old, _) = two_archives();
    let newest = old.stick.read(archives).pop().unwrap();
    let beside = format!("{newest}.sha256");
    old.stick.edit(|root| {
        let text = root.text(&beside);
        let digit = if text.starts_with('0') { "1" } else { "0" };
        fs::write(root.path(&beside), [digit, &text[1..]].concat()).unwrap();
    });
    let device = old.stick.device().to_owned();
    let check = old.call(&["restore", "--check", "--device", &device]).fails(2);
    assert!(check.stderr.contains("each file in it is that of its manifest"), "{check}");
    consent(&old.stick);
    let new = fresh();
    let run = recovers(&new, &old.stick);
    assert!(
        run.stderr.contains(&format!("{newest} is not what was written")) && run.stderr.contains("all the same"),
        "{run}"
    );
    assert_unchanged(&files(&old.server), &files(&new.server));
}

/// It may be the only one with the last days in it: the operator unpacks it, and no older one comes back in its stead.
#[test]
fn a_newer_archive_that_is_sound_and_not_taken_is_told_of() {
    let (old, new) = (backed_up(), fresh());
    let dir = tempfile::tempdir().unwrap();
    shell(dir.path(), "mkdir -p s/master; echo 1 >s/master/a.csv; tar --zstd -cf older s");
    shell(dir.path(), "ln s/master/a.csv s/master/b.csv; tar --zstd -cf newer s");
    let [older, newer] = ["older", "newer"].map(|name| fs::read(dir.path().join(name)).unwrap());
    let stick = old.stick.copy();
    stick.edit(|root| {
        for name in archives(root) {
            fs::remove_file(root.path(&name)).unwrap();
        }
        root.file("2020-01-01_full.tar.zst", older, ago(5)).file("2020-01-02_full.tar.zst", newer, ago(5));
        root.file("RESTORE", "", ago(5));
    });
    let run = plug(&new, &stick).fails(2);
    assert!(
        run.stderr.contains("of a form that is not taken here: s/master/") && run.stderr.contains("unpack it on a PC"),
        "{run}"
    );
    assert!(
        new.server.master().files().is_empty() && nothing_is_under_way(&new) && stick.read(|root| root.has("RESTORE"))
    );
    assert!(receipt(&stick).contains("unpack it on a PC"));
}

#[test]
fn without_a_sound_archive_nothing_is_restored() {
    let (old, _) = two_archives();
    damage(&old.stick, &old.stick.read(archives));
    consent(&old.stick);
    let new = fresh();
    plug(&new, &old.stick).fails(2);
    let empty = common::site::backup_stick(16);
    consent(&empty);
    plug(&new, &empty).fails(3);
    assert!(new.server.master().files().is_empty() && nothing_is_under_way(&new));
    assert!(old.stick.read(|root| root.has("RESTORE")) && empty.read(|root| root.has("RESTORE")));
    // Another stick may follow.
    let good = backed_up();
    consent(&good.stick);
    recovers(&new, &good.stick);
    assert_unchanged(&all_of(&good), &all_of(&new));
}

/// Kills it at steps that make something durable, visible or gone: at each with `FAULTS_ALL`, else at every fourth of a kind. The
/// next run, on what the stick holds then, finishes.
#[test]
fn killed_at_any_step_the_next_run_finishes() {
    let old = backed_up();
    consent(&old.stick);
    let expected = all_of(&old);
    let step = if std::env::var_os("FAULTS_ALL").is_some() { 1 } else { 4 };
    let mut kills = 0;
    for call in ["fsync", "syncfs", "renameat", "renameat2", "linkat", "unlinkat", "umount2"] {
        for number in (1..).step_by(step) {
            let (new, stick) = (fresh(), old.stick.copy());
            if !killed_at(&new, &stick, call, number) {
                break;
            }
            kills += 1;
            let cut = stick.copy();
            let step = format!("killed at {call} {number}");
            let run = plug(&new, &cut).finish();
            let last = run.stderr.lines().last().unwrap_or_default().to_owned();
            // A kill after its very last step leaves nothing to do: it is a stick for backups, and there is no snapshot yet.
            let over = cut.read(|root| root.has("RESTORE-done.txt"));
            assert!(over && (last.starts_with("recovery completed") || run.code == Some(3)), "{step}: {run}");
            assert_unchanged(&expected, &all_of(&new));
            assert!(nothing_is_under_way(&new), "{step}: {run}");
            cut.read(|root| assert!(!root.has("RESTORE"), "{step}: {}{run}", root.snapshot()));
            new.snapshot();
            done(plug(&new, &cut), "backup export completed archive=");
        }
    }
    assert!(kills >= 12, "{kills}");
}

/// `false`: it came to its end before.
fn killed_at(site: &Site, stick: &Stick, call: &str, number: usize) -> bool {
    let (trace, inject) = (format!("trace={call}"), format!("inject={call}:signal=SIGKILL:when={number}"));
    let strace = ["strace", "-D", "-qq", "-o", "/dev/null", "-e", &trace, "-e", &inject];
    let run = plug(site, stick).through(&strace).start().wait();
    assert!(matches!(run.code, None | Some(0)), "{run}");
    run.code.is_none()
}

/// Kills it after the exchange of the first dataset.
fn half_done(new: &Site, stick: &Stick) {
    let before = stick.copy();
    let found = (1..12).find(|number| {
        killed_at(new, &before, "renameat2", *number);
        let record = new.server.tree().sub(".toolmaster/recovery");
        record.has("record.json") && record.text("record.json").contains("\"placing\"")
    });
    assert!(found.is_some());
}

#[test]
fn what_is_half_done_is_finished_without_the_stick_too_and_by_no_other() {
    let (old, other, new) = (backed_up(), backed_up(), fresh());
    consent(&old.stick);
    consent(&other.stick);
    half_done(&new, &old.stick);
    let status = new.call(&["status"]).finish();
    assert!(status.stdout.contains("サーバー交換が途中です"), "{status}");
    let run = plug(&new, &other.stick).fails(2);
    assert!(run.stderr.contains("a recovery from another stick (") && run.stderr.contains("is half done"), "{run}");
    // Nor is it backed up, whoever's stick that is.
    let mine = common::site::backup_stick(64);
    let run = plug(&new, &mine).fails(2);
    assert!(run.stderr.contains("a backup would be of half a server") && mine.read(archives).is_empty(), "{run}");
    let run = new.call(&["recover"]).finish();
    run.ended(0);
    assert!(run.stderr.contains("in its place") && run.stderr.contains("recovery completed archive="), "{run}");
    assert_unchanged(&all_of(&old), &all_of(&new));
    assert!(!new.call(&["status"]).finish().stdout.contains("サーバー交換が途中です"));
    // The first stick's consent is still on it. It restores nothing over what was edited since.
    new.server.master().file("a.csv", "edited since", ago(1));
    recovers(&new, &old.stick);
    assert_eq!(new.server.master().text("a.csv"), "edited since");
    assert_over(&new, &old.stick);
    plug(&new, &other.stick).fails(2);
    new.call(&["recover"]).fails(3);
}

/// A tablespace, which a dump names and does not make.
fn make_space(site: &Site, place: &Path) {
    site.database.psql(&format!("CREATE TABLESPACE fast LOCATION '{}'", place.display()));
    site.database.psql("GRANT CREATE ON TABLESPACE fast TO PUBLIC");
}

fn drop_space(site: &Site) {
    site.database.psql("ALTER TABLE hot SET TABLESPACE pg_default");
    site.database.psql("DROP TABLESPACE fast");
}

#[test]
fn a_database_that_will_not_load_keeps_no_drawing_back_and_the_next_visit_goes_on() {
    let place = tempfile::tempdir().unwrap();
    tool("chown", &["postgres:postgres", place.path().to_str().unwrap()]);
    let old = backed_up();
    make_space(&old, place.path());
    old.database.psql("CREATE TABLE hot (a int) TABLESPACE fast");
    old.snapshot();
    done(old.backup(), "backup export completed");
    drop_space(&old);
    consent(&old.stick);
    let expected = all_of(&old);

    let down = "postgresql://nobody@127.0.0.1:9/none".to_owned();
    let absent = common::postgres::postgres().uri_text("absent");
    // In the last case the dump fails in its middle: this machine is not as the old one was.
    for (uri, said) in [(Some(down), "Connection refused"), (Some(absent), "does not exist"), (None, "fast")] {
        let (new, stick) = (fresh(), old.stick.copy());
        let call = || plug(&new, &stick);
        let run = uri.iter().fold(call(), |call, uri| call.var("PG_URI", uri)).fails(1);
        let line = "master and docviewer are in their place, but the database is still missing: ";
        assert!(run.stderr.contains(line) && run.stderr.contains(said), "{run}");
        assert!(run.stderr.lines().last().unwrap().ends_with("run: sudo toolmaster recover"), "{run}");
        assert_eq!(files(&new.server), files(&old.server), "{said}");
        let text = receipt(&stick);
        assert!(text.contains("の結果: 一部未完了") && text.contains("まだ戻っていません"), "{text}");
        // What is missing stays red, and a snapshot in between is in nobody's way.
        new.snapshot();
        let status = new.call(&["status"]).finish();
        assert!(status.stdout.contains("サーバー交換が途中です。データベースか設定が、まだ戻っていません"), "{status}");
        assert_ne!(id(&new.server), id(&old.server));

        make_space(&new, place.path());
        recovers(&new, &stick);
        assert_eq!(expected, all_of(&new), "{said}");
        assert_over(&new, &stick);
        assert!(!new.call(&["status"]).finish().stdout.contains("サーバー交換が途中です"));
        drop_space(&new);
    }
}

/// The dump is never to be loaded: the operator says so, and has a server again.
#[test]
fn a_recovery_can_be_ended_without_the_database() {
    let (old, new) = (backed_up(), fresh());
    consent(&old.stick);
    let down = "postgresql://nobody@127.0.0.1:9/none";
    new.call(&["recover", "--no-database"]).fails(3);
    plug(&new, &old.stick).var("PG_URI", down).fails(1);
    let run = new.call(&["recover", "--no-database"]).var("PG_URI", down).finish();
    run.ended(0);
    assert!(run.stderr.contains("the database stays as it is: the recovery ends without it"), "{run}");
    assert_eq!((files(&new.server), id(&new.server)), (files(&old.server), id(&old.server)));
    // With a database it goes on from there, as the server that it is.
    recovers(&new, &old.stick);
    new.snapshot();
    done(plug(&new, &old.stick), "backup export completed archive=");
    assert_eq!(
        new.database.psql("SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace").trim(),
        "0"
    );
}

/// What only a superuser may make is not made by a dump's words: red until somebody has seen to it.
#[test]
fn what_is_left_out_of_the_database_stays_red_until_it_is_accepted() {
    let old = backed_up();
    old.database.psql("CREATE PUBLICATION everything FOR ALL TABLES");
    old.database.psql("CREATE FUNCTION quick() RETURNS int LANGUAGE sql LEAKPROOF AS 'SELECT 1'");
    old.snapshot();
    done(old.backup(), "backup export completed");
    consent(&old.stick);
    let red = "サーバー交換で、データベースの次のものは戻っていません: publication everything";
    let is_red = |site: &Site| {
        let status = site.call(&["status"]).finish();
        status.stdout.lines().any(|line| line.contains(red) && line.contains("quick()"))
    };

    // A run that finds the database loaded can't know what failed: the one that was killed has noted it before.
    let cut = (1..40).map(|number| (fresh(), old.stick.copy(), number)).find(|(new, stick, number)| {
        let killed = killed_at(new, stick, "renameat", *number);
        let tables = new.database.psql("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'");
        killed && tables.trim() != "0"
    });
    let (new, stick, _) = cut.expect("it goes on once the database is loaded");
    assert!(new.server.tree().has(".toolmaster/left-out"));
    let accept = || new.call(&["recover", "--accept"]);
    accept().fails(2);
    recovers(&new, &stick);
    assert!(is_red(&new));
    new.call(&["recover", "--accept", "--no-database"]).fails(64);
    assert!(is_red(&new));
    accept().finish().ended(0);
    assert!(!is_red(&new));
    accept().fails(3);
}

/// The boot partition of the new disk, which any PC writes: the stick is as it was.
#[test]
fn consent_is_a_file_on_the_boot_partition_too() {
    let (old, new) = (backed_up(), fresh());
    let boot = tempfile::tempdir().unwrap();
    let boot = Tree::at(boot.path().to_owned());
    let mount = format!(
        "mount -t tmpfs tmpfs /boot; mkdir /boot/firmware; mount --bind {} /boot/firmware; exec \"$@\"",
        boot.path("").display()
    );
    let shell = format!("exec unshare --mount sh -euc '{}' sh \"$@\"", mount);
    let plug = |site, stick: &Stick| plug(site, stick).through_shell(&shell);
    boot.file("RESTORE.txt.txt", "", ago(5)).file("config.txt", "arm_64bit=1", ago(50));

    // On a server with data it is not followed: its backups go on.
    new.server.master().file("own.csv", "own", ago(50));
    new.snapshot();
    let mine = common::site::backup_stick(64);
    let run = plug(&new, &mine).finish();
    run.ended(0);
    assert!(
        run.stderr.contains("the file RESTORE on the boot partition is not followed: this server holds data"),
        "{run}"
    );
    assert!(boot.has("RESTORE.txt.txt") && mine.read(archives).len() == 1);

    let new = fresh();
    let down = "postgresql://nobody@127.0.0.1:9/none";
    plug(&new, &old.stick).var("PG_URI", down).var("REQUIRE_ENROLLED", "1").fails(1);
    assert!(boot.has("RESTORE.txt.txt"));
    done(plug(&new, &old.stick).var("REQUIRE_ENROLLED", "1"), "recovery completed archive=");
    assert_unchanged(&all_of(&old), &all_of(&new));
    assert!(nothing_is_under_way(&new) && boot.has("RESTORE-done.txt") && !boot.has("RESTORE.txt.txt"));
    assert!(old.stick.read(|root| !root.has("RESTORE-done.txt")));
    new.snapshot();
    done(plug(&new, &old.stick), "backup export completed archive=");
}

#[test]
fn enrolment_is_not_asked_of_a_consent_on_an_empty_server() {
    let (old, new) = (backed_up(), fresh());
    let before = old.stick.bytes();
    let strict = |stick: &Stick| plug(&new, stick).var("REQUIRE_ENROLLED", "1");
    let line = format!("validation failed for {}: it is not enrolled", old.stick.device());
    assert!(strict(&old.stick).fails(2).stderr.contains(&line));
    assert!(old.stick.bytes() == before);
    consent(&old.stick);
    let with_consent = old.stick.copy();
    done(strict(&old.stick), "recovery completed archive=");
    assert_unchanged(&all_of(&old), &all_of(&new));
    // A server with data asks for it again, and writes nothing to a stick that is not enrolled.
    let before = with_consent.bytes();
    assert!(strict(&with_consent).fails(2).stderr.contains("it is not enrolled"));
    assert!(with_consent.bytes() == before);
}

#[test]
fn a_dry_run_and_a_write_protected_stick_change_nothing() {
    let (old, new) = (backed_up(), fresh());
    consent(&old.stick);
    let before = (old.stick.bytes(), new.server.tree().snapshot());
    let run = done(plug(&new, &old.stick).flag("--dry-run"), "recovery completed archive=");
    assert!(run.plan()[0].starts_with(&format!("verify {}", old.archive().1)), "{run}");
    assert!((old.stick.bytes(), new.server.tree().snapshot()) == before);
    let locked = old.stick.write_protected();
    assert!(plug(&new, &locked).fails(2).stderr.contains("is write-protected"));
    assert!(new.server.master().files().is_empty() && nothing_is_under_way(&new));
}

/// Made with stock tools, as the original system did it: no manifest, no server's id.
#[test]
fn an_archive_of_the_original_system_is_taken_with_a_warning() {
    let (old, new) = (backed_up(), fresh());
    let (_dir, root) = old.unpacked();
    fs::remove_file(root.join("manifest.json")).unwrap();
    fs::remove_dir_all(root.join("settings")).unwrap();
    shell(&root, "tar --zstd -cf ../old.tar.zst *");
    let stick = common::site::backup_stick(64);
    let bytes = fs::read(root.join("../old.tar.zst")).unwrap();
    stick.edit(|root| made(root.file("2026-01-31_full.tar.zst", &bytes, ago(5)).file("RESTORE", "", ago(5))));
    new.call(&["snapshot"]).finish();
    let own = id(&new.server);
    let run = recovers(&new, &stick);
    assert!(run.stderr.contains("has no manifest"), "{run}");
    assert_eq!((files(&old.server), own), (files(&new.server), id(&new.server)));
    assert_eq!(old.database.psql(common::factory::CONTENT), new.database.psql(common::factory::CONTENT));
}

/// The old server's clock was right once: the new one's is not believed before that.
#[test]
fn time_does_not_go_back_with_a_new_server() {
    let (old, new) = (backed_up(), fresh());
    consent(&old.stick);
    done(plug(&new, &old.stick).clock("-400d"), "recovery completed archive=");
    let status = new.call(&["status"]).clock("-399d").finish();
    assert!(status.stdout.contains("は信じられません"), "{status}");
    assert!(!new.call(&["status"]).finish().stdout.contains("は信じられません"));
}
