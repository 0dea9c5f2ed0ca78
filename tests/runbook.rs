//! The operators' pages tell no lies: each command, path, unit, option, setting and quoted line in their code is held
//! against the product: the program's own parser and help, its sources' texts, the package's list of files, `systemd/`,
//! and what `provision` makes when it runs. Code that is none of these is a complaint too.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "runbook/commands.rs"]
mod commands;
mod common;
#[path = "runbook/document.rs"]
mod document;
#[path = "runbook/facts.rs"]
mod facts;
#[path = "runbook/files.rs"]
mod files;
#[path = "runbook/words.rs"]
mod words;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use document::{Code, prose, rows};
use facts::{claims, facts, lies, lies_of};

const RUNBOOK: &str = "RUNBOOK.md";
const STICKS: &str = "docs/usb-operations.md";
const REQUIREMENTS: &str = "docs/requirements.md";
const PAGES: [&str; 3] = [RUNBOOK, STICKS, REQUIREMENTS];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[test]
fn the_pages_tell_no_lies() {
    let mut wrong = Vec::new();
    for page in PAGES {
        wrong.extend(lies(&read(page)).into_iter().map(|lie| format!("{page}, {lie}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Of the README only what it calls and the paths that it names.
#[test]
fn the_readme_calls_what_is_there() {
    let wrong = claims(&read("README.md"));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What a page links to or shows lies where it says; a picture says in words what it shows.
#[test]
fn links_and_pictures_are_there() {
    let pages = PAGES.into_iter().chain(["README.md"]);
    let links: Vec<(String, String)> = pages
        .flat_map(|page| {
            let above = Path::new(page).parent().unwrap_or(Path::new(""));
            let text = read(page);
            let ends: Vec<usize> = text.match_indices("](").map(|(at, _)| at).collect();
            let link = |at: usize| {
                let words = text[..at].rsplit('[').next().unwrap_or_default();
                let target = text[at + 2..].split([')', '#']).next().unwrap_or_default();
                (words.to_owned(), above.join(target).display().to_string())
            };
            ends.into_iter().map(link).collect::<Vec<_>>()
        })
        .filter(|(_, target)| !target.contains("://"))
        .collect();
    assert!(links.iter().filter(|(_, target)| target.ends_with(".png")).count() > 6, "{links:?}");
    for (words, target) in links {
        assert!(!words.is_empty(), "no words for {target}");
        assert!(root().join(&target).is_file() || target.is_empty(), "{target} is not there");
    }
}

#[test]
fn wrong_pages_are_caught() {
    for (page, complaint) in [
        ("`sudo toolmaster ingset`", "ingset"),
        ("`sudo tool-ingest-sync.sh --devise /dev/sda1`", "--devise"),
        ("`sudo toolmaster stick init --role INGEST --yes`", "--device is missing"),
        ("`sudo toolmaster stick init --role FOO --device /dev/sdX`", "a role is INGEST"),
        ("`sudo toolmaster undo put`", "words are missing"),
        ("`sudo toolmaster undo put newest`", "does not know newest"),
        ("`sudo tool-bakup-export.sh`", "tool-bakup-export.sh"),
        ("```bash\nsudo toolmaster stick verify\n```", "--device is missing"),
        ("```bash\nsudo tool-snapshot.sh --pg-uri mysql://a:b@c/d\n```", "does not begin with postgresql://"),
        ("```bash\nsudo PGURI=x tool-snapshot.sh\n```", "no setting PGURI"),
        ("```bash\nsudo tool-backup-export.sh \\\n  --retain 3\n```", "--retain"),
        ("```bash\nreboot\n```", "no program reboot"),
        ("```bash\nls /mnt/usb\n```", "no path /mnt/usb"),
        ("```bash\nsudo systemctl restart tool-ingest.service\n```", "no unit tool-ingest.service"),
        ("```bash\nsudo systemctl begin tool-snapshot.timer\n```", "begin"),
        ("```bash\njournalctl -u usb-import@* -n 20\n```", "no unit usb-import@*"),
        ("```bash\njournalctl -t tool-ingest -n 20\n```", "tool-ingest"),
        ("```bash\nsudo apt install exfat-fuse\n```", "exfat-fuse"),
        ("```bash\nsudo cp script/tool-*.sh /usr/local/toolmaster/bin/\n```", "script/tool-*.sh"),
        ("```bash\nsudo usermod -aG adm,toolmasters $USER\n```", "toolmasters"),
        ("`usb-ingest@.timer`", "no unit"),
        ("`tool-snapshots.timer`", "no unit"),
        ("`/srv/rpi-server/log/`", "no path"),
        ("`/mnt/backup/2026-01-31.tar.zst`", "no path"),
        ("`/srv/rpi-server/undo/2026-01-31/master`", "no path"),
        ("`docs/usb.md`", "no docs/usb.md"),
        ("`scripts/{build,make}`", "no scripts/{build,make}"),
        ("`scripts/image virt --publish`", "scripts/image has no --publish"),
        ("`OPERATIONS.md`", "no OPERATIONS.md"),
        ("`--dryrun`", "no command has --dryrun"),
        ("`--fs ntfs`", "ntfs"),
        ("`BACKUP_DAYS`", "no setting"),
        ("`BACKUP_RETENTION=5`", "no setting"),
        ("`TM-IMPORT`", "does not know"),
        ("`meta.jsn`", "does not know"),
        ("`{\"updated\": 1}`", "no key updated"),
        ("`ingest complete (dry_run=0 force=0)`", "never says"),
        ("`validation failed on /dev/sdX1`", "never says"),
        ("`validation failed for /dve/sdX1`", "no path /dve/sdX1"),
        ("| `several sticks with label …`(64) | a | b |", "never says"),
        ("`取り込みが終わりました`", "does not know"),
        ("```python\nprint()\n```", "nobody checks"),
        ("```bash\nls\n", "without an end"),
        ("a ` b", "without an end"),
        ("```bash\nls \"/mnt/backup\n```", "a quote without an end"),
    ] {
        let found = lies(page);
        assert!(found.iter().any(|lie| lie.contains(complaint)), "{page}: {found:?}");
    }
}

/// Whatever word of the code is spoilt, the page is caught: nothing is passed over. But for what the operator chooses.
#[test]
fn every_word_of_the_code_counts() {
    const CHOSEN: [&str; 11] =
        ["safe", "sda1", "sdX1", "UNIX", "USER", "PASSWORD", "localhost", "EMPTY", "old", "restored", "csv"];
    let mut seen = BTreeSet::new();
    let mut wrong = Vec::new();
    let mut count = 0;
    for code in PAGES.iter().flat_map(|page| document::code(&read(page)).unwrap()) {
        let (text, _) = code.text.split_once(" # ").unwrap_or((&code.text, ""));
        let lies = |text: &str| lies_of(&Code { text: text.to_owned(), ..code }, facts());
        let fresh = words_of(text).into_iter().filter(|(_, word)| word.len() >= 3 && !CHOSEN.contains(word));
        for (at, word) in fresh.collect::<Vec<_>>() {
            if !seen.insert((text.to_owned(), word.to_owned())) {
                continue;
            }
            count += 1;
            let middle = at + word.len() / 2;
            let other = if text[middle..].starts_with('q') { 'k' } else { 'q' };
            let spoilt = format!("{}{other}{}", &text[..middle], &text[middle + 1..]);
            if lies(&spoilt).is_empty() {
                wrong.push(format!("line {}: {spoilt}", code.line));
            }
        }
    }
    assert!(wrong.is_empty(), "not caught:\n{}", wrong.join("\n"));
    assert!(count > 800, "{count}");
}

/// The ASCII words of a text and where they begin.
fn words_of(text: &str) -> Vec<(usize, &str)> {
    let is_word = |c: char| c.is_ascii_alphanumeric();
    let starts = text.char_indices().filter(|(at, c)| is_word(*c) && !text[..*at].ends_with(is_word));
    starts.map(|(at, _)| (at, text[at..].split(|c| !is_word(c)).next().unwrap())).collect()
}

/// Modes and owners in the tables are those of the package, of tmpfiles, and of what `provision` made.
#[test]
fn modes_and_owners_are_the_real_ones() {
    let page = read(REQUIREMENTS);
    let mut checked = 0;
    for row in rows(&page) {
        let [paths, owner, mode, _] = row[..] else { continue };
        let Ok(mode) = u32::from_str_radix(mode, 8) else { continue };
        for path in paths.split('`').skip(1).step_by(2) {
            let found = facts().files.find(path);
            assert!(!found.is_empty(), "{path}");
            for known in found.iter().filter(|known| known.mode.is_some()) {
                assert_eq!(known.mode, Some(mode), "the mode of {path}: {found:?}");
                assert_eq!(known.owner.as_deref(), Some(owner), "the owner of {path}: {found:?}");
                checked += 1;
            }
        }
    }
    assert!(checked > 25, "{checked}");
}

#[test]
fn times_are_the_units() {
    let units = &facts().units;
    let setting = |unit: &str, name: &str| {
        let text = read(&format!("systemd/{unit}"));
        text.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned)
    };
    let page = read(REQUIREMENTS);
    for unit in units {
        let named = format!("`{unit}`");
        let row =
            rows(&page).into_iter().find(|row| row[0] == named).unwrap_or_else(|| panic!("{REQUIREMENTS}: no {unit}"));
        if let Some(time) = setting(unit, "OnCalendar=") {
            let sunday = time.starts_with("Sun ");
            assert!(sunday || time.starts_with("*-*-* "), "{unit}: {time}");
            let when = match time.as_str() {
                "*-*-* *:*:00" => "1 分ごと".to_owned(),
                _ => format!("{} {}", if sunday { "日曜" } else { "毎日" }, clock_times(&time)[0]),
            };
            assert!(row[1].contains(&when), "{row:?}: {when}");
        }
        let units = [("min", " 分"), ("h", " 時間")];
        let limit = setting(unit, "TimeoutStartSec=").map(|limit| {
            let unit = units.iter().find_map(|(short, long)| Some(limit.strip_suffix(short)?.to_owned() + long));
            unit.unwrap_or_else(|| panic!("{limit}"))
        });
        assert_eq!(row[2], limit.unwrap_or_default(), "{unit}");
    }
    let real: BTreeSet<String> =
        units.iter().filter_map(|unit| setting(unit, "OnCalendar=")).flat_map(|time| clock_times(&time)).collect();
    for name in PAGES {
        let told = clock_times(&prose(&read(name)));
        assert!(told.iter().all(|time| real.contains(time)), "{name}: {told:?}, {real:?}");
    }
}

/// The times of day in a text: `02:30` or `02:30:00`, as `02:30`.
fn clock_times(text: &str) -> Vec<String> {
    let words = text.split(|c: char| !c.is_ascii_digit() && c != ':').map(|word| word.trim_matches(':'));
    let is_time = |word: &&str| matches!(word.len(), 5 | 8) && word.split(':').all(|part| part.len() == 2);
    words.filter(is_time).map(|word| word[..5].to_owned()).collect()
}

/// Numbers and names that no command shows, and where the product sets them.
#[test]
fn what_the_pages_say_is_what_the_sources_set() {
    for (said, source, words) in [
        ("新しい 7 個", "src/snapshot/retention.rs", "const NEWEST: usize = 7;"),
        ("7 日", "src/settings.rs", "number(name, value, 7, 1, 36_500)"),
        ("4 個", "src/settings.rs", "number(name, value, 4, 0, 10_000)"),
        ("3 回分", "src/dataset/undo.rs", "const KEPT: usize = 3;"),
        ("14 日", "src/dataset/undo.rs", "const YOUNG: i64 = 14 * DAY;"),
        ("24 時間より古ければ", "systemd/usb-backup@.service", "--fresh 24h"),
        ("24 時間より古ければ、警告", "src/cmd/backup/fresh.rs", "age > DAY"),
        ("1 時間後に", "systemd/tool-snapshot.service", "RestartSec=1h"),
        ("5 分まで待ちます", "src/database/client.rs", "const WAIT: Duration = Duration::from_secs(300);"),
        ("5 分で打ち切", "src/exchange/hooks.rs", "const LIMIT: Duration = Duration::from_secs(300);"),
        ("1 時間で打ち切る", "src/database/dump.rs", "pub const LIMIT: Duration = Duration::from_secs(3600);"),
        ("10 秒", "src/os/lock.rs", "const BY_HAND: Duration = Duration::from_secs(10);"),
        ("1 分ごとに新しく", "src/cmd/status/page.rs", "content=\\\"60\\\""),
        ("5 分より古いページ", "systemd/toolmaster-page.service", "-mmin +5 -delete"),
        ("80 番", "systemd/toolmaster-web.socket", "ListenStream=80"),
        ("30 秒ごと", "src/os/progress.rs", "const LINE_EVERY: Duration = Duration::from_secs(30);"),
        ("3 時間で打ち切られ", "systemd/usb-ingest@.service", "TimeoutStartSec=3h"),
        ("64 バイト", "src/stick/role.rs", "pub const MAX_ROLE: u64 = 64;"),
        ("16 MiB", "src/cmd/stick/init.rs", "const MIN_SIZE: u64 = 16 * END;"),
        ("100 段", "src/tree/walk.rs", "const MAX_DEPTH: usize = 100;"),
        ("255 バイト", "src/tree/same.rs", "name.len() > 255"),
        ("4 GiB 以上", "src/tree/same.rs", "max_size: 0xffff_ffff"),
        ("11 文字", "src/stick/format.rs", "label.encode_utf16().count() <= 11"),
        ("docker logs postgres", "config/docker-compose.yml", "container_name: postgres"),
        ("PostgreSQL 17", "config/docker-compose.yml", "image: postgres:17"),
        ("127.0.0.1", "config/docker-compose.yml", "ports: [\"127.0.0.1:5432:5432\"]"),
        ("trixie", "image/pins.env", "SUITE=trixie"),
        ("| 512 MiB | `/boot/firmware` |", "image/pins.env", "BOOT_SIZE=512 "),
        ("| 4 GiB | `/` |", "image/pins.env", "ROOT_SIZE=4096 "),
        ("`/srv/docker` が `/var/lib/docker`", "image/fstab", "/srv/docker /var/lib/docker none bind"),
        ("日本時間", "image/customize.sh", "zoneinfo/Asia/Tokyo"),
        ("ssh は鍵だけ", "image/overlay/etc/ssh/sshd_config.d/50-toolmaster.conf", "PasswordAuthentication no"),
        ("toolmaster.local", "image/overlay/etc/hostname", "toolmaster"),
        (
            "DHCP(答えが無ければリンクローカル)",
            "image/overlay/etc/systemd/network/80-ethernet.network",
            "DHCP=yes\nLinkLocal",
        ),
        ("半分を超えて", "src/dataset/survey.rs", "self.files > self.of_files / 2 || self.bytes > self.of_bytes / 2"),
    ] {
        assert!(PAGES.iter().any(|page| read(page).contains(said)), "no page says {said:?} any more");
        assert!(read(source).contains(words), "{source} no longer says {words:?}: then {said:?} is wrong");
    }
}

/// What the handbook before this one promised in its sections 1 to 3.3, 4 and 5 can still be typed, found and looked for.
#[test]
fn the_old_promises_are_kept() {
    let page = read(RUNBOOK);
    for promise in [
        "/srv/rpi-server/logs/",
        "/usr/local/toolmaster/bin/",
        "/usr/local/lib/toolmaster-usb.sh",
        "tool-snapshot.timer",
        "journalctl -u usb-ingest@* -n 20",
        "ingest completed",
        "dist export completed",
        "backup export completed",
        "/srv/rpi-server/master",
        "/mnt/physusb",
        "systemctl status tool-snapshot.timer",
        "journalctl -u tool-snapshot.service --since \"1 day ago\"",
        "/srv/rpi-server/snapshots/YYYY-MM-DD_HHMMSS/",
        "/mnt/backup/YYYY-MM-DD_full.tar.zst",
        "sudo umount /mnt/backup",
        "cd ~/RaspberryPiServer",
        "git fetch origin",
        "git pull --ff-only",
        "sudo cp systemd/*.service systemd/*.timer /etc/systemd/system/",
        "sudo cp udev/90-toolmaster.rules /etc/udev/rules.d/",
        "sudo systemctl daemon-reload",
        "sudo systemctl enable --now tool-snapshot.timer",
        "sudo udevadm control --reload",
        "sudo udevadm trigger",
        "sudo mkdir -p /usr/local/toolmaster/bin /usr/local/toolmaster/lib",
        "sudo cp scripts/tool-*.sh /usr/local/toolmaster/bin/",
        "sudo cp lib/toolmaster-usb.sh /usr/local/toolmaster/lib/",
        "sudo chmod 755 /usr/local/toolmaster/bin/tool-*.sh",
        "sudo chmod 644 /usr/local/toolmaster/lib/toolmaster-usb.sh",
        "sudo ln -sf /usr/local/toolmaster/bin/tool-ingest-sync.sh /usr/local/bin/tool-ingest-sync.sh",
        "sudo ln -sf /usr/local/toolmaster/bin/tool-dist-export.sh /usr/local/bin/tool-dist-export.sh",
        "sudo ln -sf /usr/local/toolmaster/bin/tool-dist-sync.sh /usr/local/bin/tool-dist-sync.sh",
        "sudo ln -sf /usr/local/toolmaster/bin/tool-backup-export.sh /usr/local/bin/tool-backup-export.sh",
        "sudo ln -sf /usr/local/toolmaster/bin/tool-snapshot.sh /usr/local/bin/tool-snapshot.sh",
        "sudo cp /usr/local/toolmaster/lib/toolmaster-usb.sh /usr/local/lib/toolmaster-usb.sh",
        "sudo rm /etc/systemd/system/usb-*.service /etc/systemd/system/tool-snapshot.*",
        "sudo rm /etc/udev/rules.d/90-toolmaster.rules",
        "sudo tool-backup-export.sh --device /dev/sdX1",
        "validation failed for /dev/sdX1",
        "| USB 自動処理が動かない |",
        "| スナップショットが生成されない |",
        "| バックアップ USB にアーカイブが無い |",
    ] {
        assert!(page.contains(promise), "{RUNBOOK} no longer says {promise}");
    }
}

/// What there is is told: units, commands for people, log files, settings.
#[test]
fn nothing_is_left_out() {
    let pages: String = PAGES.map(read).concat();
    // What units and the shell library call is no operator's command.
    let plumbing = ["park", "unpark", "guard", "mount", "unmount", "validate", "log", "list", "led"];
    for command in facts().tree.leaves().filter(|words| !plumbing.contains(&words.last().unwrap().as_str())) {
        let command = command.join(" ");
        let alias = toolmaster::NAMES.iter().find(|(_, name)| *name == command).map(|(alias, _)| match *alias {
            "mirrorctl" => "mirrorctl".to_owned(),
            "mirror_compare" => "mirror_compare.py".to_owned(),
            script => format!("{script}.sh"),
        });
        let called = alias.unwrap_or_else(|| format!("toolmaster {command}"));
        assert!(pages.contains(&format!("sudo {called}")), "no page says how to call {called}");
    }
    for code in [0, 1, 2, 3, 64, 75, 78] {
        assert!(read(RUNBOOK).contains(&format!("\n| {code} | ")), "exit code {code}");
    }
    let library = read("src/lib.rs");
    for log in library.split('"').filter(|literal| literal.ends_with(".log") && literal.len() > 4) {
        assert!(read(RUNBOOK).contains(log), "{log}");
    }
    for line in read("config/toolmaster.default").lines().filter(|line| line.starts_with('#') && !line.contains(' ')) {
        let name = line.trim_start_matches('#').split('=').next().unwrap();
        assert!(name.is_empty() || read(REQUIREMENTS).contains(&format!("`{name}")), "{name}");
    }
}
