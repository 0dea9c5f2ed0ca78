//! `snapshot`, `backup` and `restore`.

use sha2::{Digest, Sha256};

use crate::common::postgres::{Database, postgres};
use crate::common::{Tree, ago, noise, sample};
use crate::look::{dataset, datasets, manifest, names};
use crate::world::{State, Subject, World};

/// The eighth snapshot is too many: the oldest goes.
pub const SNAPSHOT: Subject = Subject {
    name: "snapshot",
    stick: None,
    prepare: |world| {
        filled(world);
        for day in 1..=7 {
            snapshot_of(world, &format!("2020-01-0{day}_023000"));
        }
        world.tree().sub("master").file("a.csv", "later", ago(60)).remove("b.csv").file("new/d.csv", "d1", ago(60));
    },
    reset: |_| {},
    arguments: |_| vec!["snapshot".to_owned()],
    look: |world, state| {
        let tree = world.tree();
        datasets(&tree, ["server: master", "server: docviewer"], state);
        names(&tree, "server", state);
        snapshots(&tree, state);
    },
    done: "snapshot completed",
    again: 0,
    children: &["pg_dump"],
};

/// A new archive; an older one is too many.
pub const BACKUP: Subject = Subject {
    name: "backup",
    stick: Some(("TM-BACKUP", 16)),
    prepare: |world| {
        backed_up(world);
        // The archive that is there is of an earlier day.
        world.stick().with(false, |root| {
            let today = newest_archive(root).unwrap();
            let rename = |from: &str, to: &str| std::fs::rename(root.path(from), root.path(to)).unwrap();
            rename(&today, EARLIER);
            let sum = format!("{today}.sha256");
            let line = root.text(&sum).replace(&today, EARLIER);
            root.remove(&sum).file(format!("{EARLIER}.sha256"), line, ago(60));
        });
    },
    reset: |_| {},
    arguments: |world| ["backup", "--device", &world.device(), "--retention", "1"].map(str::to_owned).into(),
    look: on_stick,
    done: "backup export completed",
    again: 0,
    children: &[],
};

/// The archive of an earlier snapshot of the same day is replaced.
pub const BACKUP_AGAIN: Subject = Subject { name: "backup (same day)", prepare: backed_up, ..BACKUP };

pub const RESTORE: Subject = Subject {
    name: "restore",
    stick: Some(("TM-BACKUP", 16)),
    prepare: |world| {
        backed_up(world);
        world.must(&["backup", "--device", &world.device()]);
    },
    reset: |_| {},
    arguments: |world| {
        let dest = world.path("restored").to_str().unwrap().to_owned();
        ["restore", "--device", &world.device(), "--dest", &dest].map(str::to_owned).into()
    },
    look: restored,
    done: "restore completed",
    again: 2,
    children: &[],
};

/// The same, and the dump into an empty database.
pub const RESTORE_DATABASE: Subject = Subject {
    name: "restore (database)",
    reset: |world| {
        let psql = |sql: &str| postgres().psql(&world.note("target"), sql);
        if database(world) != "empty" {
            psql("DROP SCHEMA public CASCADE; CREATE SCHEMA public;");
        }
    },
    prepare: |world| {
        (RESTORE.prepare)(world);
        world.notes.borrow_mut().insert("target", new_database().name.clone());
    },
    arguments: |world| {
        let mut words = (RESTORE.arguments)(world);
        words.extend(["--pg-uri".to_owned(), postgres().uri_text(&world.note("target"))]);
        words
    },
    look: |world, state| {
        restored(world, state);
        state.atomic.insert("database", database(world));
    },
    ..RESTORE
};

/// A dead server's stick with the operator's consent, at a server that holds nothing.
pub const RECOVER: Subject = Subject {
    name: "recover",
    prepare: |world| {
        backed_up(world);
        let tree = world.tree();
        for dir in ["master", "docviewer", "snapshots"] {
            tree.remove(dir).dir(dir);
        }
        tree.file(".toolmaster/server-id", format!("{FRESH_ID}\n"), ago(60));
        world.stick().with(false, |root| {
            root.file("RESTORE", "", ago(60));
        });
        let target = new_database().name.clone();
        world.set("PG_URI", postgres().uri_text(&target));
        world.notes.borrow_mut().insert("target", target);
    },
    reset: RESTORE_DATABASE.reset,
    arguments: |world| ["backup", "--device", &world.device()].map(str::to_owned).into(),
    look: |world, state| {
        let tree = world.tree();
        datasets(&tree, ["server: master", "server: docviewer"], state);
        let (id, database) = (tree.text(".toolmaster/server-id"), database(world));
        // Whoever carries the old one's id has all that it had.
        let empty = state.atomic.values().any(|files| files == "{}") || database == "empty";
        if id.trim() != FRESH_ID && empty {
            state.broken.push(format!("the old server's id, but {:?} and the database: {database}", state.atomic));
        }
        state.atomic.extend([("server: id", id), ("database", database)]);
        names(&tree, "server", state);
        world.stick().look(|root| names(root, "stick", state));
    },
    done: "recovery completed",
    // Then it is a stick for backups again, and there is no snapshot.
    again: 3,
    ..RESTORE
};

const FRESH_ID: &str = "0123456789abcdef0123456789abcdef";
const EARLIER: &str = "2020-01-01_full.tar.zst";

/// One that goes with the database server.
fn new_database() -> &'static Database {
    Box::leak(Box::new(postgres().database()))
}

/// A server with data and a database.
fn filled(world: &World) {
    let database = new_database();
    database.psql("CREATE TABLE t (a int, b text)");
    database.psql("INSERT INTO t SELECT n, md5(n::text) FROM generate_series(1, 500) n");
    world.set("PG_URI", postgres().uri_text(&database.name));
    sample(&world.tree(), ago(3600));
}

/// Takes a snapshot as of another time.
fn snapshot_of(world: &World, name: &str) {
    world.must(&["snapshot"]);
    let latest = world.path("snapshots/latest");
    std::fs::rename(latest.canonicalize().unwrap(), world.path("snapshots").join(name)).unwrap();
    std::fs::remove_file(&latest).unwrap();
    std::os::unix::fs::symlink(name, &latest).unwrap();
}

/// A snapshot is on the stick, and there is a newer one.
fn backed_up(world: &World) {
    filled(world);
    world.tree().sub("docviewer").file("plan.pdf", noise(1, 300_000), ago(70));
    world.stick().with(false, |root| {
        root.file(".toolmaster/role", "BACKUP\n", ago(9000));
    });
    world.must(&["snapshot"]);
    world.must(&["backup", "--device", &world.device()]);
    world.tree().sub("docviewer").file("plan.pdf", noise(2, 300_000), ago(60));
    world.must(&["snapshot"]);
}

/// Each snapshot is whole, and `latest` names one.
fn snapshots(root: &Tree, state: &mut State) {
    let place = root.sub("snapshots");
    let mut count = 0;
    for entry in std::fs::read_dir(place.path("")).unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap();
        if name == "latest" || name.starts_with('.') {
            continue;
        }
        count += 1;
        let snapshot = place.sub(&name);
        match manifest(&snapshot, "manifest.json") {
            Some(wrong) => state.broken.push(format!("{name}: {wrong}")),
            None if !snapshot.has("manifest.json") => state.broken.push(format!("{name} has no manifest")),
            None => {}
        }
        if !snapshot.has("db/pg_dump.sql")
            || !snapshot.text("db/pg_dump.sql").contains("PostgreSQL database dump complete")
        {
            state.broken.push(format!("{name}: the dump is not whole"));
        }
    }
    state.settled.insert("snapshots", count.to_string());
    if count < 7 {
        state.broken.push(format!("only {count} snapshots are left"));
    }
    let latest = dataset(&place.sub("latest").sub("master"), state);
    state.atomic.insert("snapshots: latest", latest);
}

fn newest_archive(root: &Tree) -> Option<String> {
    let list = std::fs::read_dir(root.path("")).unwrap().flatten();
    let names = list.map(|entry| entry.file_name().into_string().unwrap());
    names.filter(|name| name.ends_with("_full.tar.zst")).max()
}

/// The archives: each is the old one or the new one, never none, and what is beside it is true.
fn on_stick(world: &World, state: &mut State) {
    let tree = world.tree();
    datasets(&tree, ["server: master", "server: docviewer"], state);
    names(&tree, "server", state);
    world.stick().look(|root| {
        let newest = newest_archive(root).unwrap_or_default();
        let today = if newest == EARLIER { "" } else { &newest };
        let sum = |name: &str| {
            let bytes = root.path(name).is_file().then(|| std::fs::read(root.path(name)).unwrap());
            bytes.map_or("none".to_owned(), |bytes| {
                Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect::<String>()
            })
        };
        for (part, name) in [("stick: earlier archive", EARLIER), ("stick: archive", today)] {
            let (sha256, beside) = (sum(name), format!("{name}.sha256"));
            if root.has(&beside) && !root.text(&beside).starts_with(&sha256) {
                state.broken.push(format!("{beside} belies the archive"));
            }
            state.atomic.insert(part, sha256);
        }
        if newest.is_empty() {
            state.broken.push("no archive is left".to_owned());
        }
        state.settled.insert("stick: server", root.text(".toolmaster/server"));
        names(root, "stick", state);
    });
}

/// What came back.
fn restored(world: &World, state: &mut State) {
    let tree = world.tree();
    let master = dataset(&tree.sub("restored/master"), state);
    let docviewer = dataset(&tree.sub("restored/docviewer"), state);
    let dump = dataset(&tree.sub("restored/db"), state);
    state.settled.extend([("restored: master", master), ("restored: docviewer", docviewer), ("restored: dump", dump)]);
    if tree.has("restored/manifest.json") {
        state.broken.extend(manifest(&tree.sub("restored"), "manifest.json"));
    }
    names(&tree, "server", state);
    world.stick().look(|root| names(root, "stick", state));
}

fn database(world: &World) -> String {
    let tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'";
    let sql = format!("{tables} \\gset\n\\if :count\nSELECT count(*) FROM t;\n\\else\nSELECT 'empty';\n\\endif\n");
    postgres().psql(&world.note("target"), &sql).trim().to_owned()
}
