//! A dead server, and a new one in its place.

use super::factory::{CONTENT, schema};
use super::site::{Site, done};
use super::{Server, Stick, Tree, ago};

/// A server with files, a factory's database and a backup of both on its stick.
pub fn backed_up() -> Site {
    let site = Site::new();
    site.database.psql("DROP TABLE part_locations");
    site.database.psql(&schema(2000));
    site.server.master().file("empty.csv", "", ago(500)).dir("nothing/here");
    site.snapshot();
    done(site.backup(), "backup export completed");
    site
}

/// A server as it is after its first boot: directories, and an empty database.
pub fn fresh() -> Site {
    let site = Site::without_tables(Server::new());
    for dir in ["master", "docviewer", "snapshots", "logs"] {
        site.server.tree().dir(dir);
    }
    site
}

/// Ends a chain that fills a tree.
pub fn made(_: &Tree) {}

/// The operator's consent.
pub fn consent(stick: &Stick) {
    stick.edit(|root| made(root.file("RESTORE", "", ago(5))));
}

/// Every file with mode, time, size and hash, and every directory with its mode.
pub fn files(server: &Server) -> String {
    let line = |line: &str| match line.split(' ').collect::<Vec<_>>()[..] {
        [name, mode, _] if mode.starts_with("40") => format!("{name} {mode}\n"),
        _ => format!("{line}\n"),
    };
    server.data().lines().map(line).collect()
}

/// The server's id.
pub fn id(server: &Server) -> String {
    server.tree().text(".toolmaster/server-id")
}

/// All that can be compared of a site.
pub fn all_of(site: &Site) -> String {
    files(&site.server) + &id(&site.server) + &site.database.psql(CONTENT)
}

/// What is on a stick but the receipt and what the runs note in `/.toolmaster`.
pub fn archives_of(stick: &Stick) -> String {
    let ours = |line: &&str| line.starts_with("20");
    stick.read(Tree::snapshot).lines().filter(ours).map(|line| format!("{line}\n")).collect()
}
