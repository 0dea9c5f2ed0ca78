//! `mirrorctl enable|disable|rotate` and `mirror-compare`, against a real sshd, a real sudo and real databases. `systemctl` is
//! a stand-in on both sides, as in tests/mirror.rs: there is no systemd here.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::common::pi_zero::{BEFORE, Site};
use crate::common::tool;
use crate::world::{State, Subject, World};

pub const ENABLE: Subject = Subject {
    name: "mirror enable",
    stick: None,
    prepare: |world| switched(world, "disable"),
    reset: put_back,
    arguments: |_| ["mirror", "enable"].map(str::to_owned).into(),
    look: both_sides,
    done: "mirrorctl enable: 完了",
    again: 0,
    children: &[],
};

pub const DISABLE: Subject = Subject {
    name: "mirror disable",
    prepare: |world| switched(world, "enable"),
    arguments: |_| ["mirror", "disable"].map(str::to_owned).into(),
    done: "mirrorctl disable: 完了",
    ..ENABLE
};

pub const ROTATE: Subject = Subject {
    name: "mirror rotate",
    prepare: |world| {
        with_site(world, Site::down());
        let yesterday = tool("date", &["-u", "-d", "yesterday", "+mirror_diff-%Y%m%d%H%M%S.log"]);
        for log in ["mirror_requests.log", "mirror_diff.log", yesterday.trim()] {
            let lines: String = (0..200).map(|number| format!("{log} {number}\n")).collect();
            fs::write(world.path("logs").join(log), lines).unwrap();
        }
    },
    reset: |_| {},
    arguments: |_| ["mirror", "rotate"].map(str::to_owned).into(),
    look: rotated,
    done: "mirrorctl rotate: 完了",
    ..ENABLE
};

/// Two equal databases: the counter goes up by one.
pub const COMPARE: Subject = Subject {
    name: "mirror-compare",
    prepare: |world| {
        with_site(world, Site::databases_only());
        world.must(&["mirror-compare"]);
        keep(world);
    },
    arguments: |_| vec!["mirror-compare".to_owned()],
    look: compared,
    done: "",
    ..ENABLE
};

fn with_site(world: &World, site: Site) {
    fs::create_dir_all(world.path("logs")).unwrap();
    world.set("MIRRORCTL_CONFIG", site.path("config.json").to_str().unwrap());
    let places = [site.path("here/bin"), crate::common::postgres::programs()];
    let path = std::env::var_os("PATH").unwrap();
    let path = std::env::join_paths(places.into_iter().chain(std::env::split_paths(&path))).unwrap();
    world.set("PATH", path.to_str().unwrap());
    *world.mirror.borrow_mut() = Some(site);
}

/// A mirror that was switched that way, the other way before.
fn switched(world: &World, word: &str) {
    with_site(world, Site::new());
    for word in [if word == "enable" { "disable" } else { "enable" }, word] {
        world.must(&["mirror", word]);
    }
    // The nights of an earlier mirror.
    world.mirror(|site| fs::write(site.path("status/ok_counter"), "7\n").unwrap());
    keep(world);
}

/// What lies neither on the server's disk nor on a stick.
const PARTS: [&str; 4] = ["etc", "status", "here/state", "there/state"];

fn keep(world: &World) {
    world.mirror(|site| {
        for part in PARTS {
            fs::create_dir_all(site.path(part)).unwrap();
            tool("cp", &["-aT", site.path(part).to_str().unwrap(), kept(site, part).to_str().unwrap()]);
        }
    });
}

fn put_back(world: &World) {
    world.mirror(|site| {
        wait_for_the_other_side(site);
        // Not yet: the world is being made.
        for part in PARTS.iter().filter(|part| kept(site, part).exists()) {
            fs::remove_dir_all(site.path(part)).unwrap();
            tool("cp", &["-aT", kept(site, part).to_str().unwrap(), site.path(part).to_str().unwrap()]);
        }
    });
}

fn kept(site: &Site, part: &str) -> std::path::PathBuf {
    site.path(&format!("kept-{}", part.replace('/', "-")))
}

/// The Pi Zero does not notice at once that its caller was killed; what it was told to do, it does to the end.
fn wait_for_the_other_side(site: &Site) {
    let user = site.login().split('@').next().unwrap().to_owned();
    let start = Instant::now();
    let busy =
        || Command::new("pgrep").args(["-f", &format!("sshd: {user}( |@|$)")]).output().unwrap().status.success();
    while busy() {
        assert!(start.elapsed() < Duration::from_secs(20), "a login of {user} does not end");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn both_sides(world: &World, state: &mut State) {
    world.mirror(|site| {
        wait_for_the_other_side(site);
        let text = fs::read_to_string(site.device_config()).unwrap_or_default();
        match serde_json::from_str::<serde_json::Value>(&text) {
            Ok(config) => {
                let nested = serde_json::from_str::<serde_json::Value>(BEFORE).unwrap()["nested"].clone();
                if config["nested"] != nested {
                    state.broken.push(format!("the device's other settings are gone: {text}"));
                }
                state.atomic.insert("device: mirror_mode", config["mirror_mode"].to_string());
                state.atomic.insert("device: mirror_endpoint", config["mirror_endpoint"].to_string());
            }
            Err(error) => state.broken.push(format!("the device's settings are torn: {error}: {text}")),
        }
        let unit = |name: &str| fs::read_to_string(site.path("here/state").join(name)).unwrap_or_default();
        state.atomic.insert("timer", unit("mirror-compare.timer"));
        let counter = fs::read_to_string(site.path("status/ok_counter")).unwrap_or_default();
        state.atomic.insert("counter", counter);
        let active = site.path("here/state/mirror-compare.timer.active").exists();
        state.atomic.insert("timer: active", active.to_string());
        for part in ["etc", "status"] {
            let entries = fs::read_dir(site.path(part)).map(|list| list.flatten().collect()).unwrap_or(vec![]);
            state.names.extend(entries.iter().map(|entry| format!("{part}/{}", entry.file_name().display())));
        }
    });
}

/// Every line is there, once; a log and its compressed copy, which a kill may leave both, count as one. A log on its way from
/// one name to the other is a log too.
fn rotated(world: &World, state: &mut State) {
    let logs = world.path("logs");
    let mut texts = BTreeMap::new();
    let mut names: Vec<_> = fs::read_dir(&logs).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    let is_log = |name: &&str| name.starts_with("mirror_") || name.ends_with(".log.new");
    for name in names.iter().map(|name| name.to_str().unwrap()).filter(is_log) {
        let path = logs.join(name);
        let text = match name.strip_suffix(".gz") {
            Some(_) => tool("gzip", &["-dc", path.to_str().unwrap()]),
            None => fs::read_to_string(&path).unwrap(),
        };
        texts.insert(name.trim_end_matches(".gz").to_owned(), text);
    }
    let mut lines: Vec<String> = texts.values().flat_map(|text| text.lines().map(str::to_owned)).collect();
    lines.sort();
    state.atomic.insert("lines", lines.join("\n"));
    // The next rotation of an hour may find more to rename than this one: only what is not a log's is left over.
    let left = names.iter().map(|name| name.to_string_lossy().into_owned()).filter(|name| name.starts_with('.'));
    state.names.extend(left);
}

/// The counter never goes up without a comparison that proved equality, and is never lost.
fn compared(world: &World, state: &mut State) {
    world.mirror(|site| {
        let counter = fs::read_to_string(site.path("status/ok_counter")).unwrap_or_default();
        let said = match counter.trim().parse::<u32>() {
            Ok(1) => "as before",
            Ok(2..) => "one more",
            _ => "lost",
        };
        state.atomic.insert("counter", said.to_owned());
        let entries = fs::read_dir(site.path("status")).unwrap();
        state.names.extend(entries.map(|entry| format!("status/{}", entry.unwrap().file_name().display())));
        for database in site.databases.as_ref().unwrap() {
            let rows = crate::common::postgres::postgres().psql(&database.name, "SELECT count(*) FROM part_locations");
            if rows.trim() != "3" {
                state.broken.push(format!("a database has {rows} rows"));
            }
        }
    });
    let log = fs::read_to_string(world.path("logs/mirror_status.log")).unwrap_or_default();
    if let Some(line) = log.lines().find(|line| line.matches("mirror_mode").count() > 1) {
        state.broken.push(format!("two lines in one: {line}"));
    }
}
