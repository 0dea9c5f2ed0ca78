//! The image's lock (`image/lock.sh`, `image/rust.sh`, `image/tools.sh`): what goes into an image is what the lock names, or the
//! build stops with a line that says which file and what to do. The mirror is a directory here; apt gets the files from it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic, its helpers too")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};
use tempfile::TempDir;

const PACKAGES: [(&str, &str); 2] = [("tool-one", "1.0-1"), ("tool-two", "2:0.5-3+b1")];

/// A lock of two packages, a mirror that has them, and an empty cache.
struct Site(TempDir);

/// How a step ended: whether it was done, and all that it said.
struct Ended(bool, String);

impl Site {
    fn new() -> Self {
        let site = Self(TempDir::new().unwrap());
        for directory in ["lock", "cache", "work", "mirror/pool/main/t"] {
            fs::create_dir_all(site.path(directory)).unwrap();
        }
        fs::write(site.path("list"), "# a comment\ntool-one\n").unwrap();
        let lines: String = PACKAGES.iter().map(|package| site.publish(package)).collect();
        let id = site.run("list_id $LIST").done();
        fs::write(
            site.path("lock/set"),
            format!("# made by hand\n# {} {}\n{lines}", site.path("list").display(), id.trim()),
        )
        .unwrap();
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Puts a package into the mirror; its line of the lock.
    fn publish(&self, (name, version): &(&str, &str)) -> String {
        let file = Self::file(name, version);
        let tree = self.path(&format!("tree-{name}"));
        fs::create_dir_all(tree.join("DEBIAN")).unwrap();
        let control = format!(
            "Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: a test <test@localhost>\nDescription: test\n"
        );
        fs::write(tree.join("DEBIAN/control"), control).unwrap();
        let deb = self.path("mirror/pool/main/t").join(&file);
        assert!(
            Command::new("dpkg-deb")
                .args(["--build", "--root-owner-group"])
                .arg(&tree)
                .arg(&deb)
                .output()
                .unwrap()
                .status
                .success()
        );
        let bytes = fs::read(deb).unwrap();
        let sha: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{name} {version} all {sha} {} pool/main/t/{file}\n", bytes.len())
    }

    fn file(name: &str, version: &str) -> String {
        format!("{name}_{}_all.deb", version.trim_start_matches("2:"))
    }

    fn cached(&self, index: usize) -> PathBuf {
        let (name, version) = PACKAGES[index];
        self.path("cache/debs").join(Self::file(name, version))
    }

    fn mirrored(&self, index: usize) -> PathBuf {
        let (name, version) = PACKAGES[index];
        self.path("mirror/pool/main/t").join(Self::file(name, version))
    }

    /// Runs a step of the build: the build's own functions, told of this lock, cache and mirror.
    fn run(&self, step: &str) -> Ended {
        let script = format!(
            r#"set -euo pipefail
            . scripts/lib.sh; . image/pins.env; . image/tools.sh; . image/rust.sh; . image/lock.sh; . image/relock.sh
            SITE={} TARGET=virt OR_RELOCK=''
            LIST=$SITE/list CACHE=$SITE/cache WORK=$SITE/work LOCK=$SITE/lock OUT=$SITE/out CRATES=$SITE/crates
            sets() {{ echo "set all only $LIST"; }}
            debian_sources() {{ echo "copy:$SITE/mirror trixie"; }}
            {step}"#,
            self.0.path().display()
        );
        let output = Command::new("bash")
            .args(["-c", &script, "scripts/image"])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        Ended(output.status.success(), said)
    }
}

impl Ended {
    fn done(self) -> String {
        assert!(self.0, "{}", self.1);
        self.1
    }

    /// Stopped, with one line that has these words and says what to do next.
    fn stopped(self, words: &[&str]) {
        assert!(!self.0, "went on: {}", self.1);
        let line = self.1.lines().last().unwrap_or_default().to_owned();
        assert!(line.starts_with("image: ") && line.contains(" -> "), "{}", self.1);
        for word in words {
            assert!(line.contains(word), "no {word:?} in: {}", self.1);
        }
    }
}

/// Turns one byte in the middle of a file over.
fn alter(file: &Path) {
    let mut bytes = fs::read(file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(file, bytes).unwrap();
}

#[test]
fn packages_come_once_from_the_mirror_and_then_from_the_cache() {
    let site = Site::new();
    assert!(site.run("fetch_locked").done().contains("downloading 2 packages"));
    assert_eq!(fs::read(site.cached(1)).unwrap(), fs::read(site.mirrored(1)).unwrap());
    fs::remove_dir_all(site.path("mirror")).unwrap();
    assert!(!site.run("fetch_locked").done().contains("downloading"));
}

#[test]
fn a_package_that_no_mirror_has_is_named() {
    let site = Site::new();
    fs::remove_file(site.mirrored(1)).unwrap();
    site.run("fetch_locked").stopped(&["tool-two 2:0.5-3+b1 (all)", "scripts/image --relock"]);
    // What there was is kept: the next run asks for the rest only.
    assert!(site.cached(0).exists());
}

#[test]
fn an_altered_byte_in_the_cache_stops_the_build() {
    let site = Site::new();
    site.run("fetch_locked").done();
    alter(&site.cached(1));
    site.run("fetch_locked").stopped(&["tool-two_0.5-3+b1_all.deb", "SHA-256"]);
    // Also when it changes after it was looked at.
    site.run("locked_source set").stopped(&["tool-two_0.5-3+b1_all.deb", "SHA-256"]);
}

#[test]
fn an_altered_byte_on_the_mirror_never_reaches_the_cache() {
    let site = Site::new();
    alter(&site.mirrored(0));
    site.run("fetch_locked").stopped(&["tool-one 1.0-1 (all)"]);
    assert!(!site.cached(0).exists());
    assert_eq!(fs::read_dir(site.path("work/download")).unwrap().count(), 0);
}

#[test]
fn a_list_that_changed_asks_for_a_new_lock() {
    let site = Site::new();
    fs::write(site.path("list"), "tool-one\ntool-two\n").unwrap();
    site.run("fetch_locked").stopped(&["list has changed", "scripts/image --relock"]);
    fs::write(site.path("list"), "# another comment\ntool-one\n").unwrap();
    site.run("fetch_locked").done();
    fs::remove_file(site.path("lock/set")).unwrap();
    site.run("fetch_locked").stopped(&["there is no", "lock/set"]);
}

#[test]
fn the_archive_of_a_build_holds_the_lock_and_nothing_else() {
    let site = Site::new();
    fs::create_dir_all(site.path("cache/debs")).unwrap();
    fs::write(site.path("cache/debs/stray_1_all.deb"), "not locked").unwrap();
    let line = site.run("fetch_locked 2>/dev/null; locked_source set").done();
    let archive = line.strip_prefix("deb [trusted=yes] copy:").unwrap().strip_suffix(" ./\n").unwrap();
    let mut files: Vec<_> =
        fs::read_dir(archive).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    files.sort();
    assert!(!site.path("cache/debs/stray_1_all.deb").exists(), "what no lock names stays in the cache");
    assert_eq!(files, ["Packages", "Release", "tool-one_1.0-1_all.deb", "tool-two_0.5-3+b1_all.deb"]);
}

#[test]
fn a_system_with_other_packages_than_the_lock_is_refused() {
    let site = Site::new();
    let status = |version| {
        format!(
            "Package: tool-one\nStatus: install ok installed\nArchitecture: all\nVersion: {version}\n\nPackage: tool-two\nArchitecture: all\nVersion: 2:0.5-3+b1\n"
        )
    };
    let check = "tar -C $SITE/system -cf $SITE/system.tar . && check_installed $SITE/system.tar set";
    fs::create_dir_all(site.path("system/var/lib/dpkg")).unwrap();
    fs::write(site.path("system/var/lib/dpkg/status"), status("1.0-1")).unwrap();
    site.run(check).done();
    fs::write(site.path("system/var/lib/dpkg/status"), status("1.0-2")).unwrap();
    site.run(check).stopped(&["tool-one 1.0-1 all", "tool-one 1.0-2 all"]);
}

#[test]
fn a_new_lock_says_what_is_new() {
    let site = Site::new();
    fs::write(site.path("old"), "# head\ngone 1 all aa 1 f\nkept 1 all bb 1 f\nnewer 1 all cc 1 f\nodd 1 all dd 1 f\n")
        .unwrap();
    fs::write(
        site.path("work/new-lock"),
        "# head\nadded 3 all ee 1 f\nkept 1 all bb 1 f\nnewer 2 all ff 1 f\nodd 1 all 00 1 f\n",
    )
    .unwrap();
    let expected = "set: 4 packages\nset: added - -> 3\nset: gone 1 -> -\nset: newer 1 -> 2\nset: odd 1: the same version, OTHER CONTENTS\n";
    let mut said: Vec<_> = site.run("print_difference set $SITE/old").done().lines().map(str::to_owned).collect();
    said.sort();
    assert_eq!(said, expected.lines().collect::<Vec<_>>());
}

#[test]
fn what_a_build_keeps_must_be_as_it_left_it() {
    let site = Site::new();
    site.run("! kept $CACHE/tree").done();
    site.run(
        "mkdir -p $WORK/tree/a && echo text >$WORK/tree/a/file && keep $WORK/tree $CACHE/tree && kept $CACHE/tree",
    )
    .done();
    alter(&site.path("cache/tree/a/file"));
    site.run("kept $CACHE/tree").stopped(&["cache/tree is not as the build left it"]);
    site.run("echo text >$WORK/file && keep $WORK/file $CACHE/file && kept $CACHE/file").done();
    alter(&site.path("cache/file"));
    site.run("kept $CACHE/file").stopped(&["cache/file is not as the build left it"]);
}

#[test]
fn an_altered_byte_in_a_crate_or_its_sources_stops_the_build() {
    let site = Site::new();
    let make = "mkdir -p $CRATES/cache/index $CRATES/src/index/one-1.0.0 $WORK/check
        echo 'fn main() {}' >$CRATES/src/index/one-1.0.0/main.rs
        tar -C $CRATES/src/index -czf $CRATES/cache/index/one-1.0.0.crate one-1.0.0
        echo ok >$CRATES/src/index/one-1.0.0/.cargo-ok
        sha256sum <$CRATES/cache/index/one-1.0.0.crate | cut -d ' ' -f 1";
    let sha = site.run(make).done();
    let check = format!("check_crate $CRATES/cache/index/one-1.0.0.crate {} $WORK/check", sha.trim());
    site.run(&check).done();
    alter(&site.path("crates/src/index/one-1.0.0/main.rs"));
    site.run(&check).stopped(&["src/index/one-1.0.0 is not what its crate holds", "main.rs"]);
    site.run(make).done();
    alter(&site.path("crates/cache/index/one-1.0.0.crate"));
    site.run(&check).stopped(&["cache/index/one-1.0.0.crate is not the crate that the lock names"]);
}
