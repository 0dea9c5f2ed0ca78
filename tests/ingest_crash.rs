//! SPEC 8: a run that is killed, or told of an error, at each of its system calls in turn. `strace` does both.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{Run, Server, Stick, Tree, ago, in_step};
use rustix::mount::UnmountFlags;

/// Calls that change something, and those that wait for it.
const CHANGING: &str = "renameat,renameat2,linkat,mkdir,mkdirat,unlinkat,rmdir,unlink,mount,umount2,utimensat,ftruncate,\
                        fchmod,fchown,fchmodat,fchownat,copy_file_range,fallocate,write,pwrite64";
/// Calls that report errors of a medium.
const FALLIBLE: &str = "renameat,renameat2,linkat,mkdirat,unlinkat,fsync,fdatasync,syncfs,openat,openat2,read,pread64,\
                        write,pwrite64,copy_file_range,getdents64,statx,newfstatat,utimensat,fchown,fchmod,mount,umount2";

/// Calls that need room.
const FILLING: &str = "renameat,renameat2,linkat,mkdirat,fsync,fdatasync,syncfs,openat,write,pwrite64,copy_file_range";

/// Sides in step but for an edit on the stick's master, whose meta.json was forgotten, and one on the server's docviewer.
fn edited_on_both() -> (Server, Stick) {
    let (server, stick) = in_step();
    stick.edit(|root| {
        root.sub("master").file("a.csv", "stick", ago(60)).remove("b.csv").file("new/d.csv", "d1", ago(60));
    });
    server.docviewer().file("plan.pdf", "server", ago(60)).file("new/more.pdf", "m1", ago(60));
    // The files' own times say the same as what is in them, as they do where no clock was set wrong for a test.
    for dataset in ["master", "docviewer"] {
        let time = server.tree().sub(dataset).updated_at();
        server.tree().sub(dataset).meta(time);
        stick.edit(|root| {
            root.sub(dataset).meta(time);
        });
    }
    (server, stick)
}

type Both = [std::collections::BTreeMap<String, String>; 2];

fn files_of(root: &Tree) -> Both {
    [root.sub("master").files(), root.sub("docviewer").files()]
}

/// Ingests with every call of a set disturbed in turn, until a run has none left to disturb.
fn disturb_each(calls: &str, how: &str, check: impl Fn(&str, &Run, bool)) {
    let (server, stick) = edited_on_both();
    let old = files_of(&server.tree());
    server.run(&stick).done();
    let new = files_of(&server.tree());

    for number in 1.. {
        let (server, stick) = edited_on_both();
        let what = format!("{calls}:{how}:when={number}");
        let (trace, inject) = (format!("trace={calls}"), format!("inject={what}"));
        let log = server.path("strace");
        let strace = ["strace", "-f", "-qq", "-o", log.to_str().unwrap(), "-e", &trace, "-e", &inject];
        let run = server.run(&stick).through(&strace).start().wait();
        if run.code == Some(127) {
            continue; // The loader was disturbed, the program never began.
        }
        let text = std::fs::read_to_string(&log).unwrap();
        let disturbed = text.contains("(INJECTED)") || run.code.is_none();
        let last = text.lines().rfind(|line| line.contains("(INJECTED)")).or_else(|| text.lines().last());
        let what = format!("{number}: {}", last.unwrap_or_default());

        let [master, docviewer] = files_of(&server.tree());
        assert!(master == old[0] || master == new[0], "{what}: a mixture: {master:?}\n{run}");
        assert_eq!(docviewer, old[1], "{what}\n{run}");
        while let Some(place) = run.code.and_then(|_| stick.mountpoint()) {
            // An unmount that was told of an error: the operator pulls the stick.
            rustix::mount::unmount(&place, UnmountFlags::DETACH).unwrap();
        }
        let whole = master == new[0] && (run.code != Some(0) || stick.edit(files_of) == new);
        check(&what, &run, whole);

        let next = server.run(&stick).finish();
        assert_eq!(next.code, Some(0), "the run after {what}\n{run}\nnext: {next}");
        assert_eq!(files_of(&server.tree()), new, "the run after {what}\n{run}\nnext: {next}");
        assert_eq!(stick.read(files_of), new, "the run after {what}\n{run}\nnext: {next}");
        if !disturbed {
            assert!(number > 20, "strace disturbed only {number} calls");
            return;
        }
    }
}

#[test]
fn a_run_killed_at_any_system_call_leaves_old_or_new_and_the_next_one_finishes() {
    disturb_each(CHANGING, "signal=SIGKILL", |_, _, _| {});
}

/// What holds for every run that is told of errors.
fn assert_honest(what: &str, run: &Run, whole: bool) {
    let code = run.code.unwrap_or_else(|| panic!("{what}: ended by a signal\n{run}"));
    assert!([0, 1, 2, 3, 75, 78].contains(&code), "{what}\n{run}");
    assert!(!run.stderr.contains("panicked"), "{what}\n{run}");
    if code == 0 {
        assert!(whole, "{what}: says that it is done, but is not\n{run}");
    } else {
        let said = run.stderr.contains(" -> ") || run.log.contains(" -> ");
        assert!(said, "{what}: no advice\n{run}");
        assert!(!run.messages().contains("completed"), "{what}\n{run}");
    }
}

#[test]
#[ignore = "takes minutes: scripts/test --full"]
fn an_io_error_of_any_system_call_is_reported_or_does_not_matter() {
    disturb_each(FALLIBLE, "error=EIO", assert_honest);
}

#[test]
#[ignore = "takes minutes: scripts/test --full"]
fn a_full_disk_at_any_system_call_is_reported_or_does_not_matter() {
    disturb_each(FILLING, "error=ENOSPC", assert_honest);
}
