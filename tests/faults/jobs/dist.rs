//! `dist-export` onto a new stick, onto one with room for two generations and onto one without; `dist-sync`.

use crate::common::{Tree, ago, noise, sample};
use crate::look::{dataset, datasets, manifest, names};
use crate::world::{State, Subject, World};

pub const FRESH: Subject = Subject {
    name: "dist-export (new stick)",
    stick: Some(("TM-DIST", 16)),
    prepare: |world| {
        world.stick().with(false, role);
        sample(&world.tree(), ago(3600));
    },
    reset: |_| {},
    arguments: export,
    look,
    done: "dist export completed",
    again: 0,
    children: &[],
};

pub const TWO_GENERATIONS: Subject = Subject { name: "dist-export (two generations)", prepare: exported, ..FRESH };

/// A file that is replaced and fits on the stick once alone.
pub const IN_PLACE: Subject = Subject {
    name: "dist-export (in place)",
    stick: Some(("TM-DIST", 8)),
    prepare: |world| {
        let large = |seed| {
            world.tree().file("docviewer/large.pdf", noise(seed, 2 << 20), ago(200 - i64::try_from(seed).unwrap()));
        };
        large(1);
        exported(world);
        large(2);
    },
    ..FRESH
};

pub const SYNC: Subject = Subject {
    name: "dist-sync",
    stick: Some(("TM-DIST", 16)),
    prepare: |world| {
        world.set("LOCAL_MASTER_DIR", world.path("terminal/master").to_str().unwrap());
        world.set("LOCAL_DOC_DIR", world.path("terminal/docviewer").to_str().unwrap());
        world.stick().with(false, role);
        sample(&world.tree(), ago(3600));
        let [export, device] = ["dist-export".to_owned(), world.device()];
        world.must(&[&export, "--device", &device]);
        world.must(&["dist-sync", "--device", &device]);
        edit(&world.tree());
        world.must(&[&export, "--device", &device]);
    },
    reset: |_| {},
    arguments: |world| ["dist-sync", "--device", &world.device()].map(str::to_owned).into(),
    look: |world, state| {
        look(world, state);
        datasets(&world.tree().sub("terminal"), ["terminal: master", "terminal: docviewer"], state);
    },
    done: "dist sync completed",
    again: 0,
    children: &[],
};

fn role(root: &Tree) {
    root.file(".toolmaster/role", "DIST\n", ago(9000));
}

fn export(world: &World) -> Vec<String> {
    ["dist-export", "--device", &world.device()].map(str::to_owned).into()
}

fn exported(world: &World) {
    world.stick().with(false, role);
    sample(&world.tree(), ago(3600));
    world.must(&["dist-export", "--device", &world.device()]);
    edit(&world.tree());
}

/// A file replaced, one gone, one new in a new directory, one in the place of a directory; in each dataset something.
fn edit(root: &Tree) {
    root.sub("master").file("a.csv", "a2", ago(60)).remove("b.csv").file("new/d.csv", "d1", ago(60)).remove("sub");
    root.sub("master").file("sub", "now a file", ago(60)).meta(ago(60));
    root.sub("docviewer").file("plan.pdf", "p2", ago(60)).file("more.pdf", "m1", ago(60)).meta(ago(60));
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
        // What a terminal goes by is true at every instant.
        state.broken.extend(manifest(root, ".toolmaster/manifest.json"));
        let whole = root.has(".toolmaster/manifest.json")
            && root.text(".toolmaster/manifest.json").contains("\"state\":\"complete\"");
        state.settled.insert("stick: is whole", whole.to_string());
        names(root, "stick", state);
    });
}
