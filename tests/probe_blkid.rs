//! The prober next to `blkid -p` of util-linux, on every image. Each difference has its explanation in
//! `tests/images/differences.txt`, and the whole table stands in `docs/probe.md`; `PROBE_BLESS=1` writes it there anew.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // clippy.toml spares only `#[test]` functions

#[path = "images/corpus.rs"]
mod corpus;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::process::Command;

use toolmaster::stick::probe::{NotAStick, Superblock, probe};

const BEGIN: &str = "<!-- table -->\n";

/// Our answer in blkid's words: type, and for a stick label and UUID.
fn ours(answer: &Result<Superblock, NotAStick>) -> String {
    match answer {
        Ok(found) => stick(found.fstype.name(), &found.label, &found.uuid),
        Err(NotAStick::Nothing) => "nothing".into(),
        Err(NotAStick::Ambiguous(_)) => "ambiguous".into(),
        Err(NotAStick::Damaged { .. }) => "damaged".into(),
        Err(NotAStick::Io(error)) => panic!("{error}"),
        Err(NotAStick::Known(name)) => match *name {
            "LUKS1" | "LUKS2" | "LUKS2 (its second header)" => "crypto_LUKS".into(),
            "LVM2 physical volume" => "LVM2_member".into(),
            "Linux RAID member" => "linux_raid_member".into(),
            "partition table (GPT)" => "gpt".into(),
            "partition table (MBR)" | "partition table (MBR) without partitions" => "dos".into(),
            "the external journal of an ext file system" => "jbd".into(),
            "BitLocker" => name.to_string(),
            name if name.starts_with("ext ") => "refused".into(),
            name => name.to_lowercase(),
        },
    }
}

/// blkid's answer in the same words. `-o udev` is what udev sees, and escapes labels so that they can be had back;
/// `-o export` prints "M-D" both for a byte and for these three characters, as in TM-DIST.
fn theirs(image: &Path) -> String {
    let output = Command::new("blkid")
        .args(["-p", "-o", "udev"])
        .arg(image)
        .env("PATH", format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default()))
        .output()
        .expect("this test compares with the program blkid of util-linux, which is not here");
    match output.status.code() {
        Some(0) => {}
        Some(2) => return "nothing".into(),
        Some(8) => return "ambiguous".into(),
        code => panic!("blkid {}: {code:?}, {}", image.display(), String::from_utf8_lossy(&output.stderr)),
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let values: BTreeMap<_, _> = text.lines().filter_map(|line| line.split_once('=')).collect();
    let get = |key| unescape(values.get(key).copied().unwrap_or_default());
    let table = get("ID_PART_TABLE_TYPE");
    let kind = match get("ID_FS_TYPE").as_str() {
        "vfat" => get("ID_FS_VERSION").to_lowercase(),
        other => other.to_owned(),
    };
    let answer = match kind.as_str() {
        "" => {
            return if table.is_empty() { "nothing".into() } else { table };
        }
        "ext2" | "ext3" | "ext4" | "fat12" | "fat16" | "fat32" | "exfat" => {
            stick(&kind, &get("ID_FS_LABEL_ENC"), &get("ID_FS_UUID_ENC"))
        }
        other => other.to_owned(),
    };
    if table.is_empty() { answer } else { format!("{answer} + {table}") }
}

/// Takes `\x20` back.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut parts = text.split("\\x");
    bytes.extend(parts.next().unwrap_or_default().bytes());
    for part in parts {
        let (byte, rest) = part.split_at(2);
        bytes.push(u8::from_str_radix(byte, 16).unwrap());
        bytes.extend(rest.bytes());
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn stick(fstype: &str, label: &str, uuid: &str) -> String {
    format!("{fstype} {label:?} {}", uuid.split('-').next_back().unwrap_or_default())
}

/// blkid has one word for "nothing" and "damaged"; both refuse.
fn agree(ours: &str, theirs: &str) -> bool {
    ours == theirs || ours == "damaged" && theirs == "nothing"
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn every_difference_to_blkid_is_explained() {
    let differences = read(&corpus::folder().join("differences.txt"));
    let mut lines = differences.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    // Another blkid may answer otherwise: then an explanation may be one too many, but none may be missing.
    let version = Command::new("blkid").arg("--version").env("PATH", "/usr/sbin:/sbin:/usr/bin").output();
    let version = version.expect("this test compares with the program blkid of util-linux, which is not here");
    let version = String::from_utf8_lossy(&[version.stdout, version.stderr].concat()).into_owned();
    let same_version = version.contains(lines.next().expect("the first line is blkid's version"));
    let mut reasons = BTreeMap::new();
    for line in lines {
        let (names, reason) = line.split_once(": ").expect("images: explanation");
        reasons.extend(names.split(' ').map(|name| (name, reason)));
    }

    let folder = tempfile::tempdir().unwrap();
    let mut complaints = String::new();
    let mut table = String::from("| image | toolmaster | blkid | why different |\n| --- | --- | --- | --- |\n");
    for name in corpus::names() {
        let image = folder.path().join(&name);
        corpus::zstd(&name, &["--sparse", "-o", image.to_str().unwrap()]);
        let (ours, theirs) = (ours(&probe(&mut File::open(&image).unwrap())), theirs(&image));
        std::fs::remove_file(&image).unwrap();
        let reason = reasons.remove(name.as_str());
        match (agree(&ours, &theirs), reason) {
            (false, None) => complaints += &format!("{name}: we say {ours}, blkid {theirs}, and nothing explains it\n"),
            (true, Some(_)) if same_version => {
                complaints += &format!("{name}: both say {ours}, no explanation is needed\n")
            }
            _ => {}
        }
        table += &format!("| {name} | {ours} | {theirs} | {} |\n", reason.unwrap_or_default());
    }
    for name in reasons.keys() {
        complaints += &format!("{name}: an explanation for no image\n");
    }
    assert!(complaints.is_empty(), "{version}{complaints}");
    if same_version {
        check_document(&table);
    }
}

fn check_document(table: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/probe.md");
    let document = read(&path);
    let (text, written) = document.split_once(BEGIN).expect("docs/probe.md has the mark before its table");
    if corpus::blessing() {
        std::fs::write(&path, format!("{text}{BEGIN}{table}")).unwrap();
    } else {
        assert!(written == table, "docs/probe.md is stale: PROBE_BLESS=1 cargo test --test probe_blkid");
    }
}
