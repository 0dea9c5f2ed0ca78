//! Symbolic links out of the stick, in every place that a run reads.

use crate::common::{Tree, files, sample_master};
use crate::{Outside, edited, made};

type Make = fn(&Tree, &Outside);

const ACCEPTED: &str = "master: stick wins";
/// The edit is on a stick whose manifest is none of this server's: times decide.
const NO_COMMON_STATE: &str = "master: server wins";
const NO_ROLE: &str = "it has no readable /.toolmaster/role";

#[test]
fn links_that_a_run_reads() {
    let cases: [(&str, Make, i32, &str); 9] = [
        (
            "link: `master`",
            |root, out| made(root.remove("master").link("master", out.path(""))),
            2,
            "not a real directory",
        ),
        (
            "link: `.toolmaster`",
            |root, out| made(root.remove(".toolmaster").link(".toolmaster", out.path(""))),
            2,
            NO_ROLE,
        ),
        ("link: role", |root, out| swap(root, ".toolmaster/role", out, "role"), 2, NO_ROLE),
        ("link: meta.json", |root, out| swap(root, "master/meta.json", out, "meta.json"), 0, ACCEPTED),
        (
            "link: manifest.json",
            |root, out| swap(root, ".toolmaster/manifest.json", out, "manifest.json"),
            0,
            NO_COMMON_STATE,
        ),
        (
            "link: a file",
            |root, out| made(root.link("master/x.csv", out.path("secret.csv"))),
            0,
            "x.csv (symbolic link)",
        ),
        ("link: a directory", |root, out| made(root.link("master/y", out.path("sub"))), 0, "y (symbolic link)"),
        ("link: `.toolmaster/tmp`", |root, out| made(root.link(".toolmaster/tmp", out.path(""))), 0, ACCEPTED),
        ("link: upwards", |root, _| made(root.link("master/up", "../..")), 0, "up (symbolic link)"),
    ];
    for (case, make, code, says) in cases {
        let outside = Outside::fresh();
        let (server, stick) = edited(|root| make(root, &outside));
        outside.watch(case, server.run(&stick), code, says);
        let mut expected = sample_master();
        if code == 0 && says != NO_COMMON_STATE {
            expected.extend(files([("a.csv", "edited")]));
        }
        assert_eq!(server.master().files(), expected, "{case}");
        assert!(!server.master().has("x.csv") && !server.master().has("y") && !server.master().has("up"), "{case}");
    }
}

#[test]
fn a_signature_that_is_a_link() {
    let outside = Outside::fresh();
    let (server, stick) = edited(|root| made(root.link(".toolmaster/enrolled", outside.path("enrolled"))));
    let call = server.run(&stick).var("REQUIRE_ENROLLED", "1");
    outside.watch("link: enrolled, and that is asked for", call, 2, "it is not enrolled");
}

fn swap(root: &Tree, name: &str, outside: &Outside, target: &str) {
    root.remove(name).link(name, outside.path(target));
}
