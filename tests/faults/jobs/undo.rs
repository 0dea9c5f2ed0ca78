//! `undo put`, on the server and on a stick.

use super::ingest::prepare as both_edited;
use crate::common::{ago, sample};
use crate::look::{dataset, datasets, manifest, names};
use crate::world::{State, Subject, World};

pub const SERVER: Subject = Subject {
    name: "undo (server)",
    stick: Some(("TM-INGEST", 16)),
    prepare: |world| {
        both_edited(world);
        world.must(&["ingest", "--device", &world.device()]);
        note_newest(world);
    },
    reset: |_| {},
    arguments: |world| ["undo", "put", &world.note("when"), "--dataset", "master"].map(str::to_owned).into(),
    look,
    done: "undo completed",
    again: 0,
    children: &[],
};

pub const STICK: Subject = Subject {
    name: "undo (stick)",
    prepare: |world| {
        world.stick().with(false, |root| {
            root.file(".toolmaster/role", "INGEST\n", ago(9000));
            sample(root, ago(7200));
        });
        world.must(&["ingest", "--device", &world.device()]);
        world.stick().with(false, |root| {
            root.sub("master").file("a.csv", "own", ago(1000)).file("own.csv", "o", ago(1000)).remove("sub/c.csv");
        });
        let master = world.tree().sub("master");
        let later = master.updated_at() + 5;
        master.file("b.csv", "server", ago(900)).meta(later);
        world.must(&["ingest", "--device", &world.device()]);
        note_newest(world);
    },
    arguments: |world| {
        ["undo", "put", &world.note("when"), "--dataset", "master", "--device", &world.device()]
            .map(str::to_owned)
            .into()
    },
    ..SERVER
};

/// The run that is undone is named: "latest" would be the undoing itself once it is done.
fn note_newest(world: &World) {
    let mut runs: Vec<String> = std::fs::read_dir(world.path("undo"))
        .unwrap()
        .flatten()
        .map(|e| e.file_name().into_string().unwrap())
        .collect();
    runs.sort();
    world.notes.borrow_mut().insert("when", runs.pop().unwrap());
}

fn look(world: &World, state: &mut State) {
    let tree = world.tree();
    datasets(&tree, ["server: master", "server: docviewer"], state);
    names(&tree, "server", state);
    world.stick().look(|root| {
        for (part, dir) in [("stick: master", "master"), ("stick: docviewer", "docviewer")] {
            let text = dataset(&root.sub(dir), state);
            state.settled.insert(part, text);
        }
        state.settled.insert("stick: manifest", manifest(root, ".toolmaster/manifest.json").unwrap_or_default());
        names(root, "stick", state);
    });
}
