//! `mirrorctl rotate` while others write: every line is there once, in whichever file.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::Duration;

use common::pi_zero::Site;
use common::{DAY, Run, ago, tool};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

fn logs(site: &Site) -> PathBuf {
    site.server.path("logs")
}

fn names(site: &Site) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(logs(site)).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| name != "jobs.jsonl");
    names.sort();
    names
}

/// How often each line is in all files of a log together.
fn lines(site: &Site, log: &str) -> BTreeMap<String, usize> {
    let mut lines = BTreeMap::new();
    for name in names(site).iter().filter(|name| name.starts_with(log)) {
        let path = logs(site).join(name);
        let text = match name.ends_with(".gz") {
            true => tool("gzip", &["-dc", path.to_str().unwrap()]),
            false => fs::read_to_string(path).unwrap(),
        };
        text.lines().for_each(|line| *lines.entry(line.to_owned()).or_insert(0) += 1);
    }
    lines
}

fn rotate(site: &Site) -> Run {
    let run = site.mirrorctl("rotate").finish();
    run.ended(0);
    assert!(run.stderr.ends_with("mirrorctl rotate: 完了\n"), "{run}");
    run
}

fn write(site: &Site, log: &str, text: &str) {
    fs::write(logs(site).join(log), text).unwrap();
}

fn writer(site: &Site, script: &str) -> Child {
    let log = logs(site).join("mirror_requests.log");
    Command::new("sh").args(["-c", script, "writer"]).arg(log).spawn().unwrap()
}

#[test]
fn no_line_is_lost_or_doubled_while_two_write() {
    let site = Site::down();
    let mut keeps_open = writer(
        &site,
        "exec >>\"$1\"; n=0; while [ $n -lt 1000 ]; do n=$((n+1)); echo open $n; [ $((n%5)) -gt 0 ] || sleep 0.01; done",
    );
    let mut opens_each_time = writer(
        &site,
        "n=0; while [ $n -lt 1000 ]; do n=$((n+1)); echo each $n >>\"$1\"; [ $((n%5)) -gt 0 ] || sleep 0.01; done",
    );
    let mut rounds = 0;
    while keeps_open.try_wait().unwrap().is_none() || opens_each_time.try_wait().unwrap().is_none() {
        rotate(&site);
        rounds += 1;
        std::thread::sleep(Duration::from_millis(150));
    }
    keeps_open.wait().unwrap();
    opens_each_time.wait().unwrap();
    assert!(rounds > 5, "{rounds}");
    rotate(&site);
    let lines = lines(&site, "mirror_requests");
    assert_eq!(lines.len(), 2000);
    assert!(lines.values().all(|count| *count == 1));
    let plain: Vec<String> = names(&site).into_iter().filter(|name| !name.ends_with(".gz")).collect();
    assert_eq!(plain, ["mirror_requests.log"], "all others are compressed by now");
}

#[test]
fn a_log_that_is_held_open_is_compressed_by_a_later_rotation() {
    let site = Site::down();
    tool("mkfifo", &[logs(&site).join("mirror_requests.log.go").to_str().unwrap()]);
    let mut holds = writer(&site, "exec >>\"$1\"; echo one; read -r _ <\"$1.go\"; echo two");
    while site.log("mirror_requests.log") != "one\n" {
        std::thread::sleep(Duration::from_millis(10));
    }
    let run = rotate(&site);
    assert!(run.stderr.contains(".log: まだ書き込まれているので、次の rotate で圧縮します"), "{run}");
    let held = names(&site).into_iter().find(|name| name.starts_with("mirror_requests-")).unwrap();
    assert!(held.ends_with(".log"), "{held}");
    fs::write(logs(&site).join("mirror_requests.log.go"), "\n").unwrap();
    holds.wait().unwrap();
    assert_eq!(site.log(&held), "one\ntwo\n");
    let run = rotate(&site);
    assert!(run.stderr.contains(&format!("{held}.gz に圧縮しました")), "{run}");
    assert_eq!(lines(&site, "mirror_requests-").len(), 2);
}

#[test]
fn names_owners_and_modes() {
    let site = Site::down();
    for number in 0..3 {
        write(&site, "mirror_diff.log", &format!("{number}\n"));
        chown(logs(&site).join("mirror_diff.log"), Some(1234), Some(4321)).unwrap();
        fs::set_permissions(logs(&site).join("mirror_diff.log"), fs::Permissions::from_mode(0o664)).unwrap();
        rotate(&site);
    }
    let names = names(&site);
    assert_eq!(names.len(), 4, "three in one second have three names: {names:?}");
    for name in &names {
        let meta = fs::metadata(logs(&site).join(name)).unwrap();
        assert_eq!((meta.uid(), meta.gid(), meta.mode() & 0o7777), (1234, 4321, 0o664), "{name}");
        let stamp = name.strip_prefix("mirror_diff-").and_then(|name| name.strip_suffix(".log.gz"));
        let stamp = stamp.is_some_and(|stamp| stamp.len() == 14 && stamp.bytes().all(|c| c.is_ascii_digit()));
        assert!(stamp || name == "mirror_diff.log", "{name}");
    }
    // Nothing to rotate changes nothing.
    let run = rotate(&site);
    assert!(run.stderr.contains("mirror_diff.log: 記録がないので、そのままです"), "{run}");
    assert_eq!(self::names(&site), names);
}

#[test]
fn old_ones_go_by_the_time_in_their_name() {
    let site = Site::down();
    let stamp =
        |days: i64| tool("date", &["-u", "-d", &format!("@{}", ago(days * DAY)), "+%Y%m%d%H%M%S"]).trim().to_owned();
    let old = [format!("mirror_diff-{}.log.gz", stamp(31)), format!("mirror_requests-{}.log.gz", stamp(400))];
    let kept = [
        format!("mirror_diff-{}.log.gz", stamp(29)),
        format!("mirror_status-{}.log.gz", stamp(29)),
        format!("other-{}.log.gz", stamp(400)),
        format!("mirror_diff-{}.log.bak", stamp(400)),
        "mirror_new.log.gz".to_owned(),
    ];
    for name in old.iter().chain(&kept) {
        write(&site, name, "");
    }
    write(&site, "mirror_old.log.gz", "");
    tool("touch", &["-d", "-31 days", logs(&site).join("mirror_old.log.gz").to_str().unwrap()]);
    // A clock that is not to be believed removes nothing: the server has seen a later time.
    fs::create_dir_all(site.server.path(".toolmaster")).unwrap();
    fs::write(site.server.path(".toolmaster/clock-seen"), format!("{}", ago(-DAY))).unwrap();
    let run = rotate(&site);
    assert!(run.stderr.contains("時計が信じられないので、古いログは削除しません"), "{run}");
    assert_eq!(names(&site).len(), old.len() + kept.len() + 1);
    fs::remove_file(site.server.path(".toolmaster/clock-seen")).unwrap();
    let run = rotate(&site);
    assert!(run.stderr.contains(&format!("{} を削除しました(30 日より古い)", old[0])), "{run}");
    let mut kept = kept.to_vec();
    kept.sort();
    assert_eq!(names(&site), kept);
    site.configure(|config| config["log_retention_days"] = 10.into());
    rotate(&site);
    assert_eq!(names(&site).len(), 3);
}

#[test]
fn what_a_cut_between_two_names_left_is_finished() {
    let site = Site::down();
    write(&site, "mirror_diff-20990131023000.log", "a\nb\n");
    write(&site, "mirror_diff-20990131023000.log.gz", "half");
    write(&site, ".mirror_rotate.tmp", "half");
    rotate(&site);
    assert_eq!(names(&site), ["mirror_diff-20990131023000.log.gz"]);
    assert_eq!(lines(&site, "mirror_diff"), [("a".to_owned(), 1), ("b".to_owned(), 1)].into());

    // Between the exchange and the new name, and before the exchange.
    write(&site, ".mirror_diff.log.new", "c\n");
    write(&site, "mirror_diff.log", "");
    write(&site, ".mirror_requests.log.new", "");
    write(&site, "mirror_requests.log", "d\n");
    rotate(&site);
    assert!(!names(&site).iter().any(|name| name.starts_with('.')), "{:?}", names(&site));
    assert_eq!(lines(&site, "mirror_diff").len(), 3);
    assert_eq!(lines(&site, "mirror_requests"), [("d".to_owned(), 1)].into());
}

#[test]
fn gzip_fails_or_the_disk_is_full() {
    let site = Site::down();
    write(&site, "mirror_diff.log", "a\n");
    let stand_in = site.path("here/bin/gzip");
    fs::write(&stand_in, "#!/bin/sh\necho 'gzip: a stand-in that fails' >&2\nexit 1\n").unwrap();
    fs::set_permissions(&stand_in, fs::Permissions::from_mode(0o755)).unwrap();
    let run = site.mirrorctl("rotate").fails(1);
    assert!(run.stderr.contains("a stand-in that fails"), "{run}");
    assert_eq!(lines(&site, "mirror_diff"), [("a".to_owned(), 1)].into());
    fs::remove_file(stand_in).unwrap();
    rotate(&site);
    assert_eq!(lines(&site, "mirror_diff"), [("a".to_owned(), 1)].into());

    let site = Site::down();
    mount("tmpfs", logs(&site), "tmpfs", MountFlags::empty(), Some(c"size=256k")).unwrap();
    let text: String = (0..20_000).map(|n: u64| format!("{:x}\n", n.wrapping_mul(0x9e37_79b9_7f4a_7c15))).collect();
    write(&site, "mirror_requests.log", &text[..200_000]);
    let before = lines(&site, "mirror_requests");
    let run = site.mirrorctl("rotate").fails(1);
    assert!(run.stderr.contains("No space left on device"), "{run}");
    assert_eq!(lines(&site, "mirror_requests"), before);
    assert!(!logs(&site).join(".mirror_rotate.tmp").exists());
    unmount(logs(&site), UnmountFlags::DETACH).unwrap();

    fs::remove_dir(logs(&site)).unwrap();
    let run = site.mirrorctl("rotate").fails(1);
    assert!(run.stderr.contains("ログディレクトリ"), "{run}");
}

#[test]
fn killed_at_every_call() {
    let mut kills = 0;
    let site = Site::down();
    for call in ["renameat2", "renameat", "fsync", "unlinkat", "fchmod", "fchown", "wait4", "waitid"] {
        for number in 1.. {
            for name in names(&site) {
                fs::remove_file(logs(&site).join(name)).unwrap();
            }
            write(&site, "mirror_diff.log", "a\nb\n");
            write(&site, "mirror_requests.log", "c\n");
            let (trace, inject) = (format!("trace={call}"), format!("inject={call}:signal=SIGKILL:when={number}"));
            let strace = ["strace", "-qq", "-o", "/dev/null", "-e", &trace, "-e", &inject];
            let run = site.mirrorctl("rotate").through(&strace).start().wait();
            for log in ["mirror_diff.log", "mirror_requests.log"] {
                assert!(logs(&site).join(log).exists(), "{call} {number}: nobody can write to {log}: {run}");
            }
            rotate(&site);
            let what = format!("{call} {number}: {:?} {run}", names(&site));
            assert_eq!(lines(&site, "mirror_diff"), [("a".to_owned(), 1), ("b".to_owned(), 1)].into(), "{what}");
            assert_eq!(lines(&site, "mirror_requests"), [("c".to_owned(), 1)].into(), "{what}");
            assert!(
                !names(&site).iter().any(|name| name.starts_with('.') || name.contains('-') && name.ends_with(".log")),
                "{what}"
            );
            if run.code.is_some_and(|code| code <= 128) {
                break;
            }
            kills += 1;
        }
    }
    assert!(kills > 20, "it was killed {kills} times only");
}
