//! Traps in the places that a run writes on a stick.

use crate::common::call::Call;
use crate::common::site::Site;
use crate::common::{Server, Stick, Tree, ago, sample, tool};
use crate::{Outside, behind, made};

type Make = fn(&Tree, &Outside);

/// On the stick is what the server has.
fn assert_written(server: &Server, stick: &Stick, case: &str) {
    assert_eq!(stick.read(|root| root.sub("master").files()), server.master().files(), "{case}");
    assert_eq!(server.master().text("a.csv"), "server", "{case}");
}

#[test]
fn links_where_a_stick_is_written_to() {
    let cases: [(&str, Make); 6] = [
        ("write-back, link: a file", |root, out| {
            made(root.remove("master/a.csv").link("master/a.csv", out.path("secret.csv")))
        }),
        ("write-back, link: a directory", |root, out| {
            made(root.remove("master/sub").link("master/sub", out.path("sub")))
        }),
        ("write-back, link: meta.json", |root, out| {
            root.remove("master/meta.json").link("master/meta.json", out.path("meta.json"));
        }),
        ("write-back, link: manifest.json", |root, out| {
            let name = ".toolmaster/manifest.json";
            root.remove(name).link(name, out.path("manifest.json"));
        }),
        ("write-back, link: `.toolmaster/tmp`", |root, out| made(root.link(".toolmaster/tmp", out.path("")))),
        ("write-back, link: in `.toolmaster/tmp`", |root, out| {
            root.dir(".toolmaster/tmp").link(".toolmaster/tmp/0", out.path("secret.csv"));
            root.link(".toolmaster/tmp/manifest", out.path("manifest.json")).link(".toolmaster/tmp/next", out.path(""));
        }),
    ];
    for (case, make) in cases {
        let outside = Outside::fresh();
        let (server, stick) = behind(|root| make(root, &outside));
        outside.watch(case, server.run(&stick), 0, "master: server wins");
        assert_written(&server, &stick, case);
    }
}

#[test]
fn links_on_sticks_that_are_filled() {
    let cases: [(&str, Make, i32, &str); 3] = [
        ("dist-export, link: `master`", |root, out| made(root.link("master", out.path(""))), 2, "not a real directory"),
        (
            "dist-export, link: a directory",
            |root, out| made(root.dir("master").link("master/sub", out.path("sub"))),
            0,
            "completed",
        ),
        (
            "dist-export, link: manifest.json",
            |root, out| {
                root.link(".toolmaster/manifest.json", out.path("manifest.json"));
            },
            0,
            "completed",
        ),
    ];
    for (case, make, code, says) in cases {
        let (outside, server, stick) = (Outside::fresh(), Server::new(), Stick::blank("TM-DIST", 32));
        sample(&server.tree(), ago(3600));
        stick.edit(|root| {
            root.file(".toolmaster/role", "DIST\n", ago(60));
            make(root, &outside);
        });
        let call = Call::new(&server, &["dist-export", "--device", stick.device()], Some(&stick));
        outside.watch(case, call, code, says);
    }
}

#[test]
fn links_on_a_backup_stick() {
    let site = Site::new();
    site.backup().finish().ended(0);
    let (_, name) = site.archive();
    let cases: [(&str, String, i32, &str); 3] = [
        ("backup, link: the archive", name.clone(), 2, "is not a file"),
        ("backup, link: the archive's checksum", format!("{name}.sha256"), 0, "completed"),
        ("backup, link: the server's id", ".toolmaster/server".to_owned(), 0, "completed"),
    ];
    for (case, place, code, says) in cases {
        let outside = Outside::fresh();
        let kept = site.stick.copy();
        site.stick.edit(|root| made(root.remove(&place).link(&place, outside.path("archive"))));
        outside.watch(case, site.backup(), code, says);
        let whole = |root: &Tree| root.path(&place).symlink_metadata().unwrap().is_file();
        assert_eq!(site.stick.read(whole), code == 0, "{case}");
        // As it was, for the next case.
        site.stick.edit(|root| {
            let bytes = kept.read(|kept| std::fs::read(kept.path(&place)).unwrap());
            root.remove(&place).file(&place, bytes, ago(60));
        });
    }
}

#[test]
fn files_that_cannot_be_changed() {
    let cases: [(&str, &str, &str); 3] = [
        ("write-back, immutable: a file", "master/a.csv", "is protected against changes"),
        ("write-back, immutable: `master`", "master", "is protected against changes"),
        ("write-back, immutable: `.toolmaster`", ".toolmaster", "Operation not permitted"),
    ];
    for (case, place, says) in cases {
        let outside = Outside::fresh();
        let chattr = |root: &Tree, flag: &str| drop(tool("chattr", &[flag, root.path(place).to_str().unwrap()]));
        let (server, stick) = behind(|root| chattr(root, "+i"));
        let before = server.master().files();
        // Its temporary directory may stay where nothing can be removed: the stick is not looked at here.
        let call = server.call(&["ingest", "--device", stick.device()]);
        outside.watch(case, call, 1, says);
        assert_eq!(server.master().files(), before, "{case}");
        assert!(!stick.is_mounted(), "{case}");
        // The operator takes the flag away, and the next run finishes the work.
        stick.edit(|root| chattr(root, "-i"));
        server.run(&stick).done();
        assert_written(&server, &stick, case);
    }
}
