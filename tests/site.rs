//! `toolmaster site`: what an operator wrote on a PC into `toolmaster.json`. `/etc` is this binary's own (scripts/in-namespace), so are here
//! `/home` and the host's name. The network, the clock and the logins themselves are in tests/vm.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Mutex, MutexGuard};

use common::{Call, Run, Server, tool};
use tempfile::TempDir;

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0123456789abcdefghijklmnopqrstuvwxyzABCD somebody@pc";

/// A boot partition. One at a time: all tests share an `/etc`.
struct Boot {
    server: Server,
    dir: TempDir,
    _alone: MutexGuard<'static, ()>,
}

impl Boot {
    fn new() -> Boot {
        static ALONE: Mutex<()> = Mutex::new(());
        let alone = ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let _ = fs::remove_file("/etc/toolmaster/site.applied");
        Boot { server: Server::new(), dir: tempfile::tempdir().unwrap(), _alone: alone }
    }

    fn put(&self, content: impl AsRef<[u8]>) -> &Boot {
        fs::write(self.dir.path().join("toolmaster.json"), content).unwrap();
        self
    }

    fn call(&self) -> Call<'_> {
        let file = self.dir.path().join("toolmaster.json");
        self.server.call(&["site", file.to_str().unwrap()]).through(&["unshare", "--uts"])
    }

    /// The file beside it, as a PC shows it.
    fn result(&self) -> String {
        let bytes = fs::read(self.dir.path().join("toolmaster-result.txt")).unwrap();
        let text = String::from_utf8(bytes).unwrap();
        let text = text.strip_prefix('\u{feff}').expect("a byte order mark");
        assert_eq!(text.matches('\n').count(), text.matches("\r\n").count());
        text.replace("\r\n", "\n")
    }
}

fn etc(name: &str) -> String {
    fs::read_to_string(Path::new("/etc").join(name)).unwrap()
}

/// Everything below /etc, to see that nothing was applied.
fn all_of_etc() -> String {
    tool("sh", &["-c", "cd /etc && find . -type f -exec sha256sum {} + | sort"])
}

#[test]
fn what_it_says_is_set() {
    let boot = Boot::new();
    rustix::mount::mount("tmpfs", "/home", "tmpfs", rustix::mount::MountFlags::empty(), None).unwrap();
    fs::create_dir_all("/etc/default").unwrap();
    fs::create_dir_all("/etc/mirrorctl").unwrap();
    fs::create_dir_all("/etc/cloud/cloud.cfg.d").unwrap();
    fs::write("/etc/hosts", "127.0.0.1\tlocalhost\n127.0.1.1\told\n").unwrap();
    fs::write("/etc/default/toolmaster", "# words\n#SNAPSHOT_RETENTION_DAYS=7\n#BACKUP_RETENTION=4\nUSB_MAX_RETRY=5\n")
        .unwrap();
    fs::write("/etc/mirrorctl/config.json", include_str!("../config/mirrorctl-config.sample.json")).unwrap();
    fs::set_permissions("/etc/mirrorctl/config.json", fs::Permissions::from_mode(0o640)).unwrap();
    let text = format!(
        "{{\"hostname\": \"kojo-1\", \"user\": {{\"name\": \"tanaka\", \"ssh_key\": \"{KEY}\"}},\
          \"network\": {{\"address\": \"192.168.1.10/24\", \"gateway\": \"192.168.1.1\", \"dns\": [\"192.168.1.1\", \"fd00::1\"]}},\
          \"time_zone\": \"Asia/Seoul\", \"ntp_server\": \"ntp.kojo.local\", \"pi_zero_host\": \"zero-2.local\",\
          \"mirror_endpoint\": \"http://new:8501/scans\", \"snapshot_retention_days\": 30, \"backup_retention\": 8}}"
    );
    // As Notepad saves it.
    boot.put(format!("\u{feff}{}", text.replace(", ", ",\r\n")));
    let run = boot.call().finish();
    run.ended(0);
    assert_eq!(etc("hostname"), "kojo-1\n");
    assert_eq!(etc("hosts"), "127.0.0.1\tlocalhost\n127.0.1.1\tkojo-1\n");
    assert_eq!(etc("cloud/cloud.cfg.d/95-toolmaster-site.cfg"), "preserve_hostname: true\n");
    assert_eq!(etc("ssh/authorized_keys.d/tanaka"), format!("{KEY}\n"));
    assert!(
        etc("passwd").lines().any(|line| line.starts_with("tanaka:x:") && line.ends_with(":/home/tanaka:/bin/bash"))
    );
    assert!(etc("group").lines().any(|line| line.starts_with("adm:") && line.ends_with("tanaka")));
    assert!(Path::new("/home/tanaka").is_dir());
    tool("visudo", &["-c", "-f", "/etc/sudoers.d/toolmaster-site"]);
    let network = etc("systemd/network/05-toolmaster-site.network");
    for line in ["Address=192.168.1.10/24", "Gateway=192.168.1.1", "DNS=192.168.1.1", "DNS=fd00::1"] {
        assert!(network.lines().any(|there| there == line), "{line}: {network}");
    }
    assert!(!network.contains("DHCP"));
    assert_eq!(fs::read_link("/etc/localtime").unwrap(), Path::new("/usr/share/zoneinfo/Asia/Seoul"));
    assert_eq!(etc("timezone"), "Asia/Seoul\n");
    assert!(etc("systemd/timesyncd.conf.d/50-toolmaster-site.conf").contains("\nNTP=ntp.kojo.local\n"));
    assert_eq!(etc("default/toolmaster"), "# words\nSNAPSHOT_RETENTION_DAYS=30\nBACKUP_RETENTION=8\nUSB_MAX_RETRY=5\n");
    let mirror: serde_json::Value = serde_json::from_str(&etc("mirrorctl/config.json")).unwrap();
    assert_eq!(
        (&mirror["pi_zero_host"], &mirror["mirror_endpoint"]),
        (&"zero-2.local".into(), &"http://new:8501/scans".into())
    );
    assert_eq!(mirror["primary_endpoint"], "http://old-server.local:8501/api/v1/scans");
    assert_eq!(fs::metadata("/etc/mirrorctl/config.json").unwrap().permissions().mode() & 0o7777, 0o640);
    let result = boot.result();
    assert!(result.contains("結果: 設定しました。\n") && result.contains("・名前(hostname): kojo-1\n"), "{result}");

    // Applied once: what somebody changes on the machine stays, until the file changes.
    fs::write("/etc/hostname", "by-hand\n").unwrap();
    let before = all_of_etc();
    let run: Run = boot.call().finish();
    run.ended(0);
    run.never_says("hostname");
    assert_eq!(all_of_etc(), before);
    boot.put("{\"hostname\": \"kojo-2\", \"network\": {\"address\": \"dhcp\"}}").call().finish().ended(0);
    assert_eq!(etc("hostname"), "kojo-2\n");
    assert!(etc("systemd/network/05-toolmaster-site.network").contains("\nDHCP=yes\n"));
    assert_eq!(etc("timezone"), "Asia/Seoul\n");
    // Nothing was done to the machine's own name.
    assert_ne!(tool("uname", &["-n"]).trim(), "kojo-2");
}

#[test]
fn a_mistake_is_told_with_its_line_and_nothing_is_applied() {
    let boot = Boot::new();
    let before = all_of_etc();
    let good = "{\n  \"hostname\": \"new-name\",\n  ";
    let wrong: [(&str, &str); 27] = [
        ("", "何も書かれていません"),
        ("{\n  \"hostname\": \"new-name\",\n}\n", "3 行目: 最後の項目の後に , があります"),
        (
            "{\n  \"hostname\": \"new-name\"\n  \"time_zone\": \"Asia/Tokyo\"\n}\n",
            "3 行目: この行か前の行の終わりに , がありません",
        ),
        ("{\n  \"hostname\" \"new-name\"\n}\n", "2 行目: 項目の名前の後に : がありません"),
        ("{\n  \"hostname\": \"new-name\"\n", "途中で終わっています"),
        ("{\n  “hostname”: “new-name”\n}\n", "2 行目: 書き方が正しくありません"),
        ("{\n  'hostname': 'new-name'\n}\n", "2 行目: 書き方が正しくありません"),
        ("{}\n\n{}\n", "3 行目: 最後の } の後に"),
        ("[]", "最初の文字が { ではありません"),
        ("{\n  \"host\": \"new-name\"\n}\n", "2 行目: host という項目はありません"),
        ("{\n  \"hostname\": \"a\",\n  \"hostname\": \"b\"\n}\n", "3 行目: hostname が 2 回"),
        ("{\n  \"hostname\": 5\n}\n", "2 行目: 値の種類が違います"),
        ("{\n  \"hostname\": null\n}\n", "2 行目: 値の種類が違います"),
        ("{\n  \"hostname\": \"工場\"\n}\n", "2 行目: hostname は"),
        ("{\n  \"hostname\": \"New_Name\"\n}\n", "2 行目: hostname は"),
        ("\"user\": {\"name\": \"tanaka\"}\n}\n", "3 行目: ssh_key がありません"),
        ("\"user\": {\"name\": \"root\", \"ssh_key\": \"KEY\"}\n}\n", "3 行目: user の name は"),
        (
            "\"user\": {\"name\": \"daemon\", \"ssh_key\": \"KEY\"}\n}\n",
            "user: daemon は、この機械が使っている名前です",
        ),
        (
            "\"user\": {\"name\": \"tanaka\", \"ssh_key\": \"-----BEGIN OPENSSH PRIVATE KEY-----\"}\n}\n",
            "3 行目: ssh_key は、公開鍵の 1 行です",
        ),
        ("\"network\": {\"address\": \"192.168.1.10\"}\n}\n", "3 行目: address は"),
        ("\"network\": {\"address\": \"192.168.1.300/24\"}\n}\n", "3 行目: address は"),
        (
            "\"network\": {\n    \"address\": \"192.168.1.10/24\",\n    \"gateway\": \"router\"}\n}\n",
            "5 行目: IP アドレスを書きます",
        ),
        ("\"network\": {\"address\": \"dhcp\", \"gateway\": \"192.168.1.1\"}\n}\n", "address が固定のときだけ"),
        ("\"time_zone\": \"Asia/Osaka\"\n}\n", "time_zone: Asia/Osaka という時間帯はありません"),
        ("\"time_zone\": \"../../etc/passwd\"\n}\n", "3 行目: time_zone は"),
        ("\"ntp_server\": \"ntp server\"\n}\n", "3 行目: 機械の名前か IP アドレス"),
        ("\"backup_retention\": 99999\n}\n", "3 行目: 0 から 10000 までの数"),
    ];
    for (text, why) in wrong {
        let text = if text.starts_with("\"") { format!("{good}{}", text.replace("KEY", KEY)) } else { text.to_owned() };
        let run = boot.put(&text).call().finish();
        run.ended(78);
        let last = run.stderr.lines().last().unwrap_or_default();
        assert!(last.contains(why) && last.ends_with(" -> 直して、もう一度起動する"), "{text}: {last}");
        let result = boot.result();
        assert!(result.contains("結果: 使えません。何も変えていません。\n") && result.contains(why), "{result}");
        assert_eq!(all_of_etc(), before, "{text}");
    }
    for (bytes, why) in [
        (b"\xff\xfe{\0}\0".to_vec(), "UTF-16"),
        (b"{\n  \"hostname\": \"\x8d\x48\x8f\xea\"\n}".to_vec(), "2 行目: UTF-8 でない文字"),
        (vec![b' '; 70_000], "大きすぎます"),
    ] {
        boot.put(bytes).call().fails(78).says(why);
        assert!(boot.result().contains(why));
    }
    assert_eq!(all_of_etc(), before);
}

#[test]
fn windows_hid_the_file_s_ending() {
    let boot = Boot::new();
    boot.call().finish().ended(0);
    fs::write(boot.dir.path().join("toolmaster.json.txt"), "{}").unwrap();
    boot.call().fails(78).says("toolmaster.json.txt");
    assert!(boot.result().contains("拡張子"));
}

#[test]
fn a_check_changes_nothing_and_the_result_is_written_once() {
    let boot = Boot::new();
    let before = all_of_etc();
    let check = |text: &str, code: i32| {
        let file = boot.dir.path().join("toolmaster.json");
        fs::write(&file, text).unwrap();
        let run = boot.server.call(&["site", "--check", file.to_str().unwrap()]).finish();
        run.ended(code);
        assert!(!boot.dir.path().join("toolmaster-result.txt").exists());
    };
    check("{\"hostname\": \"x\"}", 0);
    check("{\"hostname\": \"X\"}", 78);
    assert_eq!(all_of_etc(), before);
    boot.call().fails(78);
    let written = || fs::metadata(boot.dir.path().join("toolmaster-result.txt")).unwrap().modified().unwrap();
    let first = written();
    boot.call().fails(78);
    assert_eq!(written(), first);
}

/// The sample's only mistake is its key, which nobody has.
#[test]
fn the_sample_is_good() {
    let boot = Boot::new();
    let sample = include_str!("../config/toolmaster.sample.json");
    boot.put(sample).call().fails(78).says("5 行目: ssh_key は");
    let file = boot.dir.path().join("toolmaster.json");
    fs::write(&file, sample.replace("AAAAC3NzaC1lZDI1NTE5AAAAI... name@pc", KEY.split_once(' ').unwrap().1)).unwrap();
    boot.server.call(&["site", "--check", file.to_str().unwrap()]).finish().ended(0);
}
