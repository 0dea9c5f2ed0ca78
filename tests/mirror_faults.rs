//! What goes wrong while `mirrorctl` switches both sides, and the state of both sides before and after it. sshd and sudo are
//! real; `systemctl` is a stand-in on both sides, and so are the programs of the Pi Zero that a test makes fail.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::fs;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use common::Run;
use common::call::Running;
use common::pi_zero::{BEFORE, Site};
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_bind, unmount};
use rustix::process::Signal;

/// It fails with that code and those words, and both sides are as they were; the message says so.
fn fails_and_leaves_all(site: &Site, word: &str, code: i32, words: &[&str]) -> Run {
    let before = site.state();
    let run = site.mirrorctl(word).fails(code);
    assert_eq!(site.state(), before, "{run}");
    for word in words {
        assert!(run.stderr.contains(word), "does not say {word:?}: {run}");
    }
    assert!(!run.stderr.contains("完了"), "{run}");
    run
}

/// The same for both ways: off to on, on to off. Afterwards, with the fault gone, it works.
fn fails_both_ways(code: i32, words: &[&str], fault: impl Fn(&mut Site), cure: impl Fn(&mut Site)) {
    let mut site = Site::new();
    for word in ["enable", "disable"] {
        fault(&mut site);
        let run = fails_and_leaves_all(&site, word, code, words);
        let timer = if word == "enable" { "inactive / disabled" } else { "active / enabled" };
        let login = site.login();
        let states = format!("いまの状態: Pi Zero({login})は元のまま、mirror-compare.timer は {timer} -> ");
        assert!(run.stderr.contains(&states), "does not say {states:?}: {run}");
        cure(&mut site);
        site.mirrorctl(word).finish().ended(0);
    }
}

#[test]
fn ssh_refused() {
    let mut site = Site::new();
    site.stop_sshd();
    // Not "Connection refused" always: another test's server may have got the port meanwhile.
    let run = fails_and_leaves_all(&site, "enable", 1, &["SSH 接続に失敗しました", "元のまま"]);
    let login = site.login();
    assert!(run.stderr.contains(&format!("({login})")), "{run}");
    let status = site.mirrorctl("status").finish();
    status.ended(0);
    assert!(status.stdout.contains(&format!("Pi Zero: {login} SSH 接続に失敗しました")), "{status}");
}

#[test]
fn an_unknown_host_key() {
    let known = |site: &Site| site.path("known_hosts");
    fails_both_ways(
        1,
        &["SSH 接続に失敗しました", "Host key verification failed"],
        |site| {
            fs::copy(known(site), site.path("kept")).unwrap();
            fs::write(known(site), "").unwrap();
        },
        |site| assert!(fs::copy(site.path("kept"), known(site)).is_ok()),
    );
}

#[test]
fn a_key_that_is_not_allowed() {
    let keys = |site: &Site| site.path("authorized_keys");
    fails_both_ways(
        1,
        &["SSH 接続に失敗しました", "Permission denied"],
        |site| fs::write(keys(site), "").unwrap(),
        |site| assert!(fs::copy(site.path("user_key.pub"), keys(site)).is_ok()),
    );
}

#[test]
fn a_host_that_says_nothing_ends_at_the_time_limit() {
    let site = Site::down();
    let listener = TcpListener::bind(("127.0.0.1", site.port())).unwrap();
    let silent = std::thread::spawn(move || {
        let held: Vec<_> = listener.incoming().take(1).collect();
        std::thread::sleep(Duration::from_secs(20));
        drop(held);
    });
    let start = Instant::now();
    fails_and_leaves_all(&site, "enable", 1, &["SSH 接続に失敗しました", "元のまま"]);
    assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
    drop(silent);
}

#[test]
fn the_device_s_disk_is_full() {
    // A small file system of memory in this test's own mount namespace.
    let full = |site: &Site| site.path("etc").join("ballast");
    let small = |site: &mut Site| {
        if !site.path("mounted").exists() {
            let text = fs::read(site.device_config()).unwrap();
            mount("tmpfs", site.path("etc"), "tmpfs", MountFlags::empty(), Some(c"size=64k,mode=0755")).unwrap();
            fs::write(site.device_config(), text).unwrap();
            fs::write(site.path("mounted"), "").unwrap();
        }
        let _ = fs::write(full(site), vec![b'x'; 1 << 20]);
    };
    fails_both_ways(1, &["を変更できません", "No space left on device"], small, |site| {
        fs::remove_file(full(site)).unwrap();
    });
}

#[test]
fn a_file_that_is_not_json_is_not_there_or_is_no_file() {
    let site = Site::new();
    for text in ["", "not json", "[1]", "{\"a\": 1", "{} trailing"] {
        fs::write(site.device_config(), text).unwrap();
        fails_and_leaves_all(&site, "enable", 1, &["JSON のオブジェクトとして読めません", "元のまま"]);
        assert_eq!(site.calls("there"), [""; 0], "its service was not touched");
    }
    fs::write(site.device_config(), b"{\"a\": \"\xff\"}").unwrap();
    fails_and_leaves_all(&site, "enable", 1, &["UTF-8 ではありません"]);
    fs::write(site.device_config(), vec![b' '; 40_000]).unwrap();
    fails_and_leaves_all(&site, "enable", 1, &["大きすぎます"]);
    fs::rename(site.device_config(), site.path("elsewhere")).unwrap();
    fails_and_leaves_all(&site, "enable", 1, &["config.json がありません"]);
    std::os::unix::fs::symlink(site.path("elsewhere"), site.device_config()).unwrap();
    fails_and_leaves_all(&site, "enable", 1, &["config.json がありません"]);
    let status = site.mirrorctl("status").finish();
    status.ended(0);
}

#[test]
fn a_file_that_somebody_changes_meanwhile_keeps_that_change() {
    // The Pi Zero's `sync`, which runs between reading and replacing, stands in for the other writer.
    let site = Site::new();
    let file = site.device_config().display().to_string();
    for (how, text) in [
        (format!("echo '{{\"by\": \"hand\"}}' >'{file}'"), "{\"by\": \"hand\"}\n"),
        (format!("cp '{file}' '{file}.2'; mv '{file}.2' '{file}'"), "{\"by\": \"hand\"}\n"),
    ] {
        site.device_program("sync", &how);
        let run = site.mirrorctl("enable").fails(75);
        assert!(run.stderr.contains("途中で書き換えられました") && run.stderr.contains("元のまま"), "{run}");
        assert_eq!(fs::read_to_string(site.device_config()).unwrap(), text);
        assert_eq!(fs::read_dir(site.path("etc")).unwrap().count(), 1, "no backup, nothing of ours");
    }
    assert_eq!(site.calls("there"), [""; 0]);
}

#[test]
fn sudo_refused() {
    let site = Site::new();
    site.refuse_sudo();
    fails_and_leaves_all(&site, "enable", 1, &["で sudo を使えません", "sudo: a password is required", "元のまま"]);
    fails_and_leaves_all(&site, "disable", 1, &["で sudo を使えません"]);
    // What it can't read either is said, and no failure.
    let status = site.mirrorctl("status").finish();
    status.ended(0);
    assert!(status.stdout.contains("sudo: a password is required"), "{status}");
}

#[test]
fn the_timer_can_not_be_switched() {
    for word in ["enable", "disable"] {
        let fault = format!("fail-{word}");
        let mut site = Site::new();
        if word == "disable" {
            site.mirrorctl("enable").finish().ended(0);
            fs::write(site.path("status/ok_counter"), "7\n").unwrap();
        }
        site.calls("there");
        site.stand_in("here", &fault, "");
        let before = fs::read_to_string(site.device_config()).unwrap();
        let run = site.mirrorctl(word).fails(1);
        assert!(run.stderr.contains("the stand-in was told to fail") && run.stderr.contains("元のまま"), "{run}");
        assert_eq!(fs::read_to_string(site.device_config()).unwrap(), before);
        let restarts = ["restart onsite-handheld.service"; 2];
        assert_eq!(site.calls("there"), restarts, "once with the new file, once with the old one again");
        let timer = fs::read_to_string(site.path("here/state/mirror-compare.timer")).unwrap();
        assert_eq!(timer, if word == "enable" { "disabled\n" } else { "enabled\n" });
        fs::remove_file(site.path("here/state").join(fault)).unwrap();
        site.mirrorctl(word).finish().ended(0);
        site.stop_sshd();
    }
}

#[test]
fn the_timer_half_switched_is_undone() {
    let site = Site::new();
    // `enable --now` enables it, but can't start it.
    site.stand_in("here", "do-enable", "echo enabled >\"$state/mirror-compare.timer\"; : >\"$state/fail-enable\"");
    let before = site.state();
    site.mirrorctl("enable").fails(1);
    assert_eq!(
        site.state().replace(&format!("config.json.bak 0:33 640\n{BEFORE}"), ""),
        before.replace("service: false", "service: true")
    );
}

#[test]
fn a_timer_that_is_not_installed_and_a_machine_without_systemd() {
    let site = Site::new();
    fs::remove_file(site.path("here/state/mirror-compare.timer")).unwrap();
    for word in ["enable", "disable"] {
        fails_and_leaves_all(&site, word, 78, &["mirror-compare.timer が登録されていません"]);
    }
    let status = site.mirrorctl("status").finish();
    assert!(status.stdout.contains("タイマー: mirror-compare.timer inactive / not-found\n"), "{status}");
    // Not booted with systemd: systemctl is there and fails.
    site.stand_in("here", "fail-show", "");
    for word in ["enable", "disable"] {
        fails_and_leaves_all(&site, word, 78, &["unsupported"]);
    }
    // No systemctl: the system's own is hidden from this test binary.
    if fs::exists("/usr/bin/systemctl").unwrap() {
        mount_bind("/dev/null", "/usr/bin/systemctl").unwrap();
    }
    fs::remove_file(site.path("here/bin/systemctl")).unwrap();
    for word in ["enable", "disable"] {
        fails_and_leaves_all(&site, word, 78, &["systemctl が使えません(unsupported)"]);
    }
    assert_eq!(site.calls("there"), [""; 0], "the Pi Zero was not touched");
    let status = site.mirrorctl("status").finish();
    status.ended(0);
    assert!(
        status
            .stdout
            .starts_with("タイマー: mirror-compare.timer unsupported\nサービス: mirror-compare.service unsupported\n")
    );
    if fs::exists("/usr/bin/systemctl").unwrap() {
        unmount("/usr/bin/systemctl", UnmountFlags::empty()).unwrap();
    }
}

#[test]
fn a_service_that_does_not_start_with_the_new_file_gets_the_old_one_back() {
    let mut site = Site::new();
    let file = site.device_config().display().to_string();
    let picky = |mode: &str| {
        format!(
            "grep -q '\"mirror_mode\": {mode}' '{file}' && : >\"$state/fail-restart\" || rm -f \"$state/fail-restart\""
        )
    };
    for (word, mode) in [("enable", "true"), ("disable", "false")] {
        site.stand_in("there", "do-restart", &picky(mode));
        let run = fails_and_leaves_service(&site, word);
        assert!(run.stderr.contains("onsite-handheld.service を再起動できません: Failed to restart unit"), "{run}");
        assert!(run.stderr.contains("は元のまま、"), "{run}");
        fs::remove_file(site.path("there/state/do-restart")).unwrap();
        let _ = fs::remove_file(site.path("there/state/fail-restart"));
        site.mirrorctl(word).finish().ended(0);
    }
    // It does not start at all.
    site.stand_in("there", "fail-restart", "");
    let run = fails_and_leaves_service(&site, "enable");
    assert!(run.stderr.contains("設定は元のまま(サービスは止まっています)"), "{run}");
    site.stop_sshd();
}

fn fails_and_leaves_service(site: &Site, word: &str) -> Run {
    let before = site.state();
    let run = site.mirrorctl(word).fails(1);
    assert_eq!(
        site.state().replace("service: false", "service: true"),
        before.replace("service: false", "service: true")
    );
    run
}

/// In the Pi Zero's stand-in `systemctl`: ends the sshd that serves this connection.
const CUT: &str = "up=$$; while read -r _ comm _ <\"/proc/$up/stat\" && [ \"$comm\" != '(sshd)' ]; do
  up=$(sed 's/.*) [A-Z] //; s/ .*//' \"/proc/$up/stat\"); done; kill -9 \"$up\"\n";

#[test]
fn a_connection_that_is_cut_while_it_is_changed_is_looked_up_and_undone() {
    let site = Site::new();
    site.stand_in("there", "do-restart", &format!("rm \"$state/do-restart\"\n{CUT}"));
    let run = site.mirrorctl("enable").fails(1);
    assert!(run.stderr.contains("SSH 接続に失敗しました") && run.stderr.contains("元のまま"), "{run}");
    assert_eq!(fs::read_to_string(site.device_config()).unwrap(), BEFORE);
    assert_eq!(site.calls("there"), ["restart onsite-handheld.service"; 2]);
    assert_eq!(fs::read_dir(site.path("etc")).unwrap().count(), 2, "the file, its backup, nothing of ours");
    site.mirrorctl("enable").finish().ended(0);
}

#[test]
fn a_device_that_is_gone_for_good_while_it_is_changed_is_not_called_unchanged() {
    let site = Site::new();
    fs::write(site.path("authorized_keys.kept"), "").unwrap();
    let keys = site.path("authorized_keys").display().to_string();
    site.stand_in("there", "do-restart", &format!("rm \"$state/do-restart\"\n: >'{keys}'\n{CUT}"));
    let run = site.mirrorctl("enable").fails(1);
    assert!(run.stderr.contains("変更されたままかもしれません(元の設定は config.json.bak)"), "{run}");
    assert!(run.stderr.contains("mirror-compare.timer は inactive / disabled"), "{run}");
    assert_eq!(fs::read_to_string(site.path("etc/config.json.bak")).unwrap(), BEFORE);
}

/// A run that enables the timer and is held there for so many seconds.
fn held_while_enabling(site: &Site, seconds: u32) -> Running<'_> {
    let hold = format!(": >\"$state/enabling\"; rm \"$state/do-enable\"; sleep {seconds}");
    site.stand_in("here", "do-enable", &hold);
    let mut running = site.mirrorctl("enable").start();
    running.until("it enables the timer", || site.path("here/state/enabling").exists());
    running
}

#[test]
fn a_signal_while_the_timer_is_switched_undoes_the_pi_zero() {
    let site = Site::new();
    let running = held_while_enabling(&site, 30);
    running.signal(Signal::TERM);
    let run = running.wait();
    run.ended(1);
    assert!(
        run.stderr.contains("signal") && run.stderr.contains("は元のまま、mirror-compare.timer は inactive / disabled"),
        "{run}"
    );
    assert_eq!(fs::read_to_string(site.device_config()).unwrap(), BEFORE);
}

#[test]
fn a_run_that_is_killed_is_finished_by_the_next() {
    let site = Site::new();
    let running = held_while_enabling(&site, 30);
    running.signal(Signal::KILL);
    running.reap();
    let run = site.mirrorctl("enable").finish();
    run.ended(0);
    assert!(run.stderr.contains("mirror-compare.timer: active / enabled"), "{run}");
    assert_eq!(fs::read_to_string(site.path("etc/config.json.bak")).unwrap(), BEFORE, "the backup is the true one");
}

#[test]
fn a_counter_that_can_not_be_set_undoes_both_sides() {
    let site = Site::new();
    site.configure(|config| config["ok_counter_file"] = "/nowhere/at/all/ok_counter".into());
    let run = site.mirrorctl("enable").fails(1);
    assert!(run.stderr.contains("cannot open the directory /nowhere/at: No such file or directory"), "{run}");
    assert!(run.stderr.contains("は元のまま、mirror-compare.timer は inactive / disabled"), "{run}");
    assert_eq!(fs::read_to_string(site.device_config()).unwrap(), BEFORE);
}

#[test]
fn a_login_shell_that_talks() {
    let site = Site::new();
    site.noisy_shell();
    site.mirrorctl("enable").finish().ended(0);
    assert!(site.mirrorctl("status").finish().stdout.contains("mirror_mode=true"));
}

#[test]
fn two_at_once() {
    let site = Site::new();
    let first = held_while_enabling(&site, 2);
    let second = site.mirrorctl("disable").start();
    first.wait().ended(0);
    let second = second.wait();
    second.ended(0);
    assert!(second.stderr.contains("waiting: another run has"), "{second}");
    assert_eq!(fs::read_to_string(site.device_config()).unwrap(), BEFORE);
}

#[test]
fn what_a_killed_run_left_on_the_device_goes() {
    let site = Site::new();
    fs::create_dir(site.path("etc/.mirrorctl.1")).unwrap();
    fs::write(site.path("etc/.mirrorctl.1/old"), "x").unwrap();
    site.mirrorctl("enable").finish().ended(0);
    assert_eq!(fs::read_dir(site.path("etc")).unwrap().count(), 2);
}

#[test]
fn no_value_reaches_a_shell() {
    let site = Site::new();
    let hostile = "etc/a b'c\"d$(touch PWNED)`touch PWNED`;touch PWNED\\ *";
    fs::create_dir(site.path(hostile)).unwrap();
    let file = site.path(hostile).join("config.json");
    fs::write(&file, BEFORE).unwrap();
    site.configure(|config| config["config_path"] = file.to_str().unwrap().into());
    site.mirrorctl("enable").finish().ended(0);
    assert!(fs::read_to_string(&file).unwrap().contains("\"mirror_mode\": true"));
    let status = site.mirrorctl("status").finish();
    assert!(status.stdout.contains("mirror_mode=true"), "{status}");
    site.mirrorctl("disable").finish().ended(0);
    assert_eq!(fs::read_to_string(&file).unwrap(), BEFORE);
    for dir in ["home", "etc", ""] {
        assert!(!site.path(dir).join("PWNED").exists());
    }
    for (key, value) in [
        ("pi_zero_host", "-oProxyCommand=touch PWNED"),
        ("pi_zero_host", "$(touch PWNED)"),
        ("ssh_user", "pi;touch PWNED"),
        ("pi_zero_service", "a.service; touch PWNED"),
        ("mirror_timer", "--root=/tmp/x.timer"),
        ("config_path", "/tmp/a\nb"),
        ("mirror_endpoint", "http://a\nb"),
    ] {
        site.configure(|config| config[key] = value.into());
        let run = site.mirrorctl("enable").fails(78);
        assert!(run.stderr.contains(key) && !run.stderr.contains("PWNED"), "{run}");
    }
}

#[test]
fn configurations_that_can_not_be_used() {
    let site = Site::new();
    fs::remove_file(site.path("config.json")).unwrap();
    for word in ["status", "enable", "disable", "rotate"] {
        let run = site.mirrorctl(word).fails(78);
        let message = format!("設定ファイルが見つかりません: {}", site.path("config.json").display());
        assert!(run.stderr.contains(&message), "{run}");
    }
    assert!(site.compare().fails(78).stderr.contains("設定ファイルが見つかりません: "));
    assert!(
        site.call(&["mirror", "status", "--config", "/nowhere"]).fails(78).stderr.contains("見つかりません: /nowhere")
    );
    fs::write(site.path("config.json"), "{").unwrap();
    assert!(site.mirrorctl("status").fails(78).stderr.contains("JSON のオブジェクトとして読めません(1 行 1 文字目)"));
    site.configure(|config| drop(config.as_object_mut().unwrap().remove("pi_zero_host")));
    fails_and_leaves_all(&site, "enable", 78, &["pi_zero_host がありません"]);
    site.configure(|config| drop(config.as_object_mut().unwrap().remove("mirror_endpoint")));
    fails_and_leaves_all(&site, "enable", 78, &["mirror_endpoint がありません"]);
    site.call(&["mirror", "on"]).fails(64);
}
