//! Too many, too deep, too large.

use std::fs::File;

use crate::common::{Server, Stick, Tree, ago, assert_unchanged, sample, sample_master, tool};
use crate::{Outside, behind, edited};

const TERABYTE: u64 = 1 << 40;

fn sparse(root: &Tree, name: &str) {
    File::create(root.path(name)).unwrap().set_len(TERABYTE).unwrap();
}

#[test]
fn a_hundred_thousand_files_in_one_directory() {
    let outside = Outside::fresh();
    let stick = Stick::made(128, |image| {
        tool("mkfs.ext4", &["-q", "-F", "-b", "4096", "-I", "256", "-N", "110000", "-L", "TM-INGEST", image]);
    });
    stick.edit(|root| {
        root.file(".toolmaster/role", "INGEST\n", ago(60));
        sample(root, ago(60));
        for number in 0..100_000 {
            File::create(root.path("master").join(format!("{number:06}.csv"))).unwrap();
        }
    });
    // A disk that does not make them wait.
    let server = Server::on_disk_of(|image| {
        tool("mkfs.ext4", &["-q", "-F", "-b", "4096", "-I", "256", "-N", "220000", image]);
    });
    outside.watch("100,000 files in one directory", server.run(&stick).patience(600), 0, "100003 file(s) copied");
    assert_eq!(std::fs::read_dir(server.path("master")).unwrap().count(), 100_004);
}

#[test]
fn a_thousand_levels() {
    let outside = Outside::fresh();
    let (server, stick) = edited(|root| {
        root.sub("master").file(format!("{}/f", ["d"; 1000].join("/")), "", ago(60));
    });
    let before = server.data();
    outside.watch("1,000 levels of directories", server.run(&stick), 2, "lies deeper than 100 directories");
    assert_unchanged(&before, &server.data());
}

#[test]
fn a_terabyte_of_nothing() {
    let outside = Outside::fresh();
    let (server, stick) = edited(|root| sparse(root, "master/huge.csv"));
    let before = server.data();
    outside.watch("sparse file of 1 TB", server.run(&stick), 1, "not enough room on the server");
    assert_unchanged(&before, &server.data());

    let outside = Outside::fresh();
    let (server, stick) = behind(|root| sparse(root, "master/a.csv"));
    let before = server.data();
    outside.watch("write-back over a sparse file of 1 TB", server.run(&stick), 1, "not enough room on the server");
    assert_unchanged(&before, &server.data());
}

#[test]
fn control_files_of_a_terabyte() {
    let cases: [(&str, &str, i32, &str); 3] = [
        ("role of 1 TB", ".toolmaster/role", 2, "its role is"),
        ("meta.json of 1 TB", "master/meta.json", 1, "not enough room on the server"),
        ("manifest.json of 1 TB", ".toolmaster/manifest.json", 0, "master: server wins"),
    ];
    for (case, name, code, says) in cases {
        let outside = Outside::fresh();
        let (server, stick) = edited(|root| sparse(root, name));
        outside.watch(case, server.run(&stick), code, says);
        assert_eq!(server.master().files().len(), sample_master().len(), "{case}");
    }
}

#[test]
fn an_archive_of_a_terabyte_and_one_that_unpacks_to_two_gigabytes() {
    let (outside, server, stick) = (Outside::fresh(), Server::new(), Stick::blank("TM-BACKUP", 32));
    let archive = "2026-01-01_full.tar.zst";
    stick.edit(|root| {
        root.file(".toolmaster/role", "BACKUP\n", ago(60));
        sparse(root, archive);
    });
    let check = || server.call(&["restore", "--check", "--device", stick.device()]);
    outside.watch("restore: archive of 1 TB of zeros", check(), 2, "-> ");
    stick.edit(|root| {
        let to = root.remove(archive).path(archive);
        let script = "head -c 2G /dev/zero | zstd -q -19 --long=28 >\"$1\"";
        tool("sh", &["-euc", script, "sh", to.to_str().unwrap()]);
    });
    outside.watch("restore: 2 GB of zeros that want 256 MiB of memory", check(), 2, "it asks for a window of 256 MiB");
    stick.edit(|root| {
        let to = root.remove(archive).path(archive);
        tool("sh", &["-euc", "head -c 2G /dev/zero | zstd -q >\"$1\"", "sh", to.to_str().unwrap()]);
    });
    outside.watch("restore: 2 GB of zeros in some KiB", check(), 2, "holds no files");
}
