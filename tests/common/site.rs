//! A server with data, a database and a snapshot, and a BACKUP stick in its port.

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::call::Call;
use super::postgres::{Database, postgres};
use super::{Run, Server, Stick, Tree, ago, sample, tool};

/// What the tests of `snapshot`, `backup` and `restore` stand on.
pub struct Site {
    pub server: Server,
    pub stick: Stick,
    pub database: Database,
}

/// An ext4 stick for backups with nothing on it but its role.
pub fn backup_stick(mib: u64) -> Stick {
    let stick = Stick::blank("TM-BACKUP", mib);
    stick.edit(|root| {
        root.file(".toolmaster/role", "BACKUP\n", ago(60));
    });
    stick
}

/// The archives in a directory, by name.
pub fn archives(root: &Tree) -> Vec<String> {
    let entries = std::fs::read_dir(root.path("")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| name.ends_with("_full.tar.zst")).collect();
    names.sort();
    names
}

/// Runs it; it must succeed, and its last line must begin so.
pub fn done(call: Call<'_>, last: &str) -> Run {
    let run = call.finish();
    run.ended(0);
    assert!(run.stderr.lines().last().unwrap_or_default().starts_with(last), "{run}");
    run
}

/// A script of stock tools in a directory; it must succeed.
pub fn shell(dir: &Path, script: &str) -> String {
    let output = Command::new("sh").args(["-euc", script]).current_dir(dir).output().unwrap();
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

impl Site {
    /// A server with both datasets, a table and a snapshot of them, and a stick of 64 MiB.
    pub fn new() -> Site {
        Site::on(Server::new())
    }

    /// The same on that server, with nothing on it yet.
    pub fn on(server: Server) -> Site {
        let site = Site::without_tables(server);
        sample(&site.server.tree(), ago(3600));
        site.server.docviewer().file("図面/長い名前の図面.pdf", "Japanese", ago(70));
        site.database.psql("CREATE TABLE part_locations (order_code text PRIMARY KEY, location_code text)");
        site.database.psql("INSERT INTO part_locations SELECT n, '第' || n || '棚' FROM generate_series(1, 1000) n");
        site.snapshot();
        site
    }

    /// A server with a new database; nothing else.
    pub fn without_tables(server: Server) -> Site {
        Site { server, stick: backup_stick(64), database: postgres().database() }
    }

    /// A command line on the server, with its database.
    pub fn call<'a>(&'a self, arguments: &[&str]) -> Call<'a> {
        Call::new(&self.server, arguments, None).var("PG_URI", postgres().uri_text(&self.database.name))
    }

    /// Takes a snapshot.
    pub fn snapshot(&self) {
        self.call(&["snapshot"]).finish().ended(0);
    }

    /// The same as of some days ago.
    pub fn snapshot_of(&self, days: u32) {
        self.call(&["snapshot"]).clock(&format!("-{days}d")).finish().ended(0);
    }

    /// `backup` onto the stick.
    pub fn backup(&self) -> Call<'_> {
        self.call(&["backup", "--device", self.stick.device()])
    }

    /// `restore --check` of the stick.
    pub fn check(&self) -> Call<'_> {
        self.call(&["restore", "--check", "--device", self.stick.device()])
    }

    /// The newest snapshot's directory.
    pub fn latest(&self) -> Tree {
        Tree::at(std::fs::canonicalize(self.server.path("snapshots/latest")).unwrap())
    }

    /// The names in the directory of the snapshots, without `latest`.
    pub fn snapshots(&self) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.server.path("snapshots")) else { return Vec::new() };
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.retain(|name| name != "latest");
        names.sort();
        names
    }

    /// The only archive on the stick: its bytes and its name.
    pub fn archive(&self) -> (Vec<u8>, String) {
        self.stick.read(|root| {
            let mut names = archives(root);
            let name = names.pop().expect("an archive");
            assert!(names.is_empty(), "{names:?}");
            (std::fs::read(root.path(&name)).unwrap(), name)
        })
    }

    /// Turns over a bit of the archive where it lies on the medium, in the middle.
    pub fn flip_in_archive(&self) {
        let (archive, _) = self.archive();
        let needle = archive.get(archive.len() / 2..).unwrap().get(..64).unwrap();
        let image = self.stick.bytes();
        let at = image.windows(64).position(|window| window == needle).expect("the archive lies in the image");
        let file = std::fs::OpenOptions::new().write(true).open(self.stick.image()).unwrap();
        file.write_all_at(&[needle[0] ^ 1], at as u64).unwrap();
    }

    /// Stock tools take the stick's archive: what they unpack.
    pub fn unpacked(&self) -> (TempDir, PathBuf) {
        let (archive, name) = self.archive();
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(&name), archive).unwrap();
        let sums = self.stick.read(|root| root.text(format!("{name}.sha256")));
        std::fs::write(dir.path().join("sums"), sums).unwrap();
        shell(dir.path(), "sha256sum -c sums");
        shell(dir.path(), &format!("zstd -qt {name}"));
        shell(dir.path(), &format!("mkdir out && tar --zstd -xf {name} -C out"));
        let root = self.latest().path("").file_name().unwrap().to_owned();
        let out = dir.path().join("out").join(root);
        (dir, out)
    }
}

/// Two trees hold the same.
pub fn assert_same(one: &Path, other: &Path) {
    tool("diff", &["-r", one.to_str().unwrap(), other.to_str().unwrap()]);
}
