//! SPEC 2: where datasets may lie. What a mount or a slip in the settings would mix up is refused before a byte is changed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::{Call, Server, Stick, Tree, ago, assert_unchanged, data_on, in_step, sample};
use rustix::mount::{UnmountFlags, mount_bind, unmount};

/// A dry run and a run with such settings are 78, and everything is as it was, but for the logs.
fn refused(server: &Server, stick: &Stick, set: impl Fn(Call<'_>) -> Call<'_>) {
    let all = || {
        let snapshot = server.tree().snapshot();
        let data: Vec<_> =
            snapshot.lines().filter(|line| !line.starts_with(' ') && !line.starts_with("logs")).collect();
        data.join("\n") + &data_on(stick)
    };
    let before = all();
    set(server.run(stick)).flag("--dry-run").fails(78);
    assert_unchanged(&before, &all());
    set(server.run(stick)).fails(78);
    let undone =
        |text: String| text.lines().filter(|line| !line.starts_with(".toolmaster")).collect::<Vec<_>>().join("\n");
    assert_unchanged(&undone(before), &undone(all()));
}

/// A bind mount until the end of the test.
struct Bound(PathBuf);

impl Bound {
    fn new(from: &Path, to: PathBuf) -> Bound {
        fs::create_dir_all(&to).unwrap();
        mount_bind(from, &to).unwrap();
        Bound(to)
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        let _ = unmount(&self.0, UnmountFlags::DETACH);
    }
}

#[test]
fn a_bind_mount_on_or_below_a_dataset_is_refused_before_a_byte_is_changed() {
    for place in ["master", "master/shared", "docviewer/cad/parts", "undo"] {
        let (server, stick) = in_step();
        stick.edit(|root| {
            root.sub("master").file("a.csv", "edited", ago(60)).meta(ago(30));
        });
        // On the same disk: the device number tells nothing.
        server.tree().file("elsewhere/precious.dwg", "precious", ago(60));
        let bound = Bound::new(&server.path("elsewhere"), server.path(place));
        refused(&server, &stick, |call| call);
        drop(bound);
        assert_eq!(server.tree().text("elsewhere/precious.dwg"), "precious");
        assert_eq!(server.master().text("a.csv"), "a1");
    }
}

#[test]
fn datasets_that_are_equal_nested_or_links_are_refused() {
    for place in ["master", "master/docs", "undo/docs", "link", "."] {
        let (server, stick) = in_step();
        server.tree().file("elsewhere/old.pdf", "old", ago(90)).link("link", "elsewhere");
        server.master().file("docs/old.pdf", "old", ago(90));
        stick.edit(|root| {
            root.sub("docviewer").file("plan.pdf", "p2", ago(60)).meta(ago(30));
        });
        refused(&server, &stick, |call| call.var("SERVER_DOC_DIR", server.path(place)));
        assert_eq!(server.master().text("docs/old.pdf"), "old");
    }
}

#[test]
fn a_terminal_with_a_mount_in_its_dataset_is_refused_and_the_mount_untouched() {
    let server = Server::new();
    sample(&server.tree(), ago(3600));
    let stick = Stick::blank("TM-DIST", 32);
    stick.edit(|root| {
        root.file(".toolmaster/role", "DIST\n", ago(60));
    });
    Call::new(&server, &["dist-export", "--device", stick.device()], Some(&stick)).finish().ended(0);
    let terminal = tempfile::tempdir().unwrap();
    let place = Tree::at(terminal.path());
    place.file("nas/precious.dwg", "precious", ago(60)).dir("master").file("docviewer/own.pdf", "own", ago(60));
    let sync = || {
        let call = Call::new(&server, &["dist-sync", "--device", stick.device()], Some(&stick));
        call.var("LOCAL_MASTER_DIR", place.path("master")).var("LOCAL_DOC_DIR", place.path("docviewer"))
    };
    let bound = Bound::new(&place.path("nas"), place.path("docviewer/nas"));
    sync().fails(78);
    drop(bound);
    assert_eq!(place.text("nas/precious.dwg"), "precious");
    assert_eq!(place.text("docviewer/own.pdf"), "own");
    assert!(!place.has("master/a.csv"), "a byte was changed before");
    place.remove("docviewer/nas");
    sync().finish().ended(0);
    assert_eq!(place.sub("docviewer").files(), server.docviewer().files());
}
