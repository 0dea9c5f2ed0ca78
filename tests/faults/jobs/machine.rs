//! `stick adopt`, `stick enroll` and `provision`.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustix::mount::MountFlags;

use crate::common::{Tree, ago};
use crate::look::names;
use crate::world::{State, Subject, World};

pub const ADOPT: Subject = Subject {
    name: "stick adopt",
    stick: Some(("TM-BACKUP", 16)),
    prepare: |world| {
        world.stick().with(false, |root| {
            root.file(".toolmaster/role", "BACKUP\n", ago(9000)).file(".toolmaster/server", "another\n", ago(9000));
        });
    },
    reset: |_| {},
    arguments: |world| ["stick", "adopt", "--device", &world.device()].map(str::to_owned).into(),
    look: |world, state| {
        world.stick().look(|root| {
            let owner = if root.text(".toolmaster/server") == "another\n" { "another" } else { "this one" };
            state.atomic.insert("stick: server", owner.to_owned());
            if owner == "this one"
                && root.text(".toolmaster/server").trim() != world.tree().text(".toolmaster/server-id").trim()
            {
                state.broken.push("the stick is nobody's".to_owned());
            }
            names(root, "stick", state);
        });
        names(&world.tree(), "server", state);
    },
    done: "stick adopt completed",
    again: 0,
    children: &[],
};

/// Makes the server's key, too.
pub const ENROLL: Subject = Subject {
    name: "stick enroll",
    prepare: |world| {
        world.stick().with(false, |root| {
            root.file(".toolmaster/role", "BACKUP\n", ago(9000));
        });
    },
    arguments: |world| ["stick", "enroll", "--device", &world.device()].map(str::to_owned).into(),
    look: |world, state| {
        let key = std::fs::read(world.path(".toolmaster/enroll-key")).map_or(0, |key| key.len());
        state.atomic.insert("server: key", format!("{key} bytes"));
        world.stick().look(|root| {
            let signed = root.has(".toolmaster/enrolled").then(|| root.text(".toolmaster/enrolled").trim().len());
            state.atomic.insert("stick: signature", format!("{signed:?} digits"));
            names(root, "stick", state);
        });
        names(&world.tree(), "server", state);
    },
    done: "stick enroll completed",
    ..ADOPT
};

pub const PROVISION: Subject = Subject {
    name: "provision",
    stick: None,
    prepare: |_| samples(),
    reset: |_| {
        for dir in ["/etc/toolmaster", "/etc/mirrorctl", "/run/root/.ssh"]
            .map(Path::new)
            .into_iter()
            .filter(|dir| dir.exists())
        {
            std::fs::remove_dir_all(dir).unwrap();
        }
    },
    arguments: |_| vec!["provision".to_owned()],
    look: provisioned,
    done: "",
    again: 0,
    children: &[],
};

/// The package's samples, in a `/usr/share` of the tests' own.
fn samples() {
    for dir in ["/run/usr-upper", "/run/usr-work"] {
        std::fs::create_dir_all(dir).unwrap();
    }
    let data = c"lowerdir=/usr/share,upperdir=/run/usr-upper,workdir=/run/usr-work";
    rustix::mount::mount("overlay", "/usr/share", "overlay", MountFlags::empty(), data).unwrap();
    let share = Path::new("/usr/share/toolmaster");
    std::fs::create_dir(share).unwrap();
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    for name in ["docker-compose.yml", "env.example"] {
        std::fs::copy(config.join(name), share.join(name)).unwrap();
    }
    std::fs::write(share.join("mirrorctl-config.sample.json"), "{}\n").unwrap();
}

/// Each file is whole or not there; the marker only stands where all of them are.
fn provisioned(world: &World, state: &mut State) {
    let tree = world.tree();
    names(&tree, "server", state);
    let etc = ["/etc/toolmaster", "/etc/mirrorctl"];
    for dir in etc {
        names(&Tree::at(dir), dir, state);
    }
    let file = |path: &Path| match std::fs::read(path) {
        Ok(bytes) => format!("{:o} {}", path.metadata().unwrap().permissions().mode() & 0o777, bytes.len()),
        Err(_) => "none".to_owned(),
    };
    for (part, path) in [
        ("compose file", world.path("docker-compose.yml")),
        (".env", world.path(".env")),
        (".env.example", world.path(".env.example")),
        ("password", "/etc/toolmaster/postgres-password".into()),
        ("mirror's settings", "/etc/mirrorctl/config.json".into()),
        ("server's mark", "/etc/toolmaster/server".into()),
        ("marker", world.path(".toolmaster/provisioned")),
        ("server's id", world.path(".toolmaster/server-id")),
    ] {
        state.atomic.insert(part, file(&path));
    }
    let missing: Vec<&str> = state.atomic.iter().filter(|(_, text)| *text == "none").map(|(part, _)| *part).collect();
    if !missing.is_empty() && !missing.contains(&"marker") {
        state.broken.push(format!("provisioned, but without {missing:?}"));
    }
}
