//! `ingest`: one dataset comes from the stick, the other is written back to it.

use crate::common::{Tree, ago, sample};
use crate::look::{dataset, datasets, kept, manifest, names};
use crate::world::{State, Subject, World};

pub const INGEST: Subject = Subject {
    name: "ingest",
    stick: Some(("TM-INGEST", 16)),
    prepare,
    reset: |_| {},
    arguments: |world| ["ingest", "--device", &world.device()].map(str::to_owned).into(),
    look,
    done: "ingest completed",
    again: 0,
    children: &[],
};

pub const INGEST_FIRST: Subject = Subject { name: "ingest (new server)", prepare: first, ..INGEST };

/// An INGEST stick with the sample on it.
fn fill(root: &Tree) {
    root.file(".toolmaster/role", "INGEST\n", ago(9000));
    sample(root, ago(7200));
}

fn first(world: &World) {
    world.stick().with(false, fill);
}

/// In step, then both were edited: master on the stick, docviewer on the server.
pub fn prepare(world: &World) {
    first(world);
    world.must(&["ingest", "--device", &world.device()]);
    world.stick().with(false, |root| {
        root.sub("master").file("a.csv", "stick", ago(60)).remove("b.csv").file("new/d.csv", "d1", ago(60));
    });
    let docviewer = world.tree().sub("docviewer");
    docviewer.file("plan.pdf", "server", ago(60)).file("new/more.pdf", "m1", ago(60));
}

fn look(world: &World, state: &mut State) {
    let tree = world.tree();
    datasets(&tree, ["server: master", "server: docviewer"], state);
    names(&tree, "server", state);
    let before = |files: &[(&str, &str)]| {
        format!("{:?}", files.iter().map(|(name, text)| (*name, *text)).collect::<std::collections::BTreeMap<_, _>>())
    };
    let master = [("replaced", before(&[("a.csv", "a1"), ("b.csv", "b1")])), ("none", before(&[]))];
    let found = kept(&tree, "master", &master, state).join(" ");
    state.settled.insert("undo: master", found);
    let docviewer = [("replaced", before(&[("plan.pdf", "p1")])), ("none", before(&[]))];
    let found = kept(&tree, "docviewer", &docviewer, state).join(" ");
    state.settled.insert("undo: docviewer", found);
    world.stick().look(|root| {
        for (part, dir) in [("stick: master", "master"), ("stick: docviewer", "docviewer")] {
            let text = dataset(&root.sub(dir), state);
            state.settled.insert(part, text);
        }
        // Between two runs people edit the stick; what its manifest says is true again when a run has ended.
        state.settled.insert("stick: manifest", manifest(root, ".toolmaster/manifest.json").unwrap_or_default());
        names(root, "stick", state);
    });
}
