//! The server, its sticks and its clock, what happens to them in a night, and what is looked at after it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use super::common::recovery::{consent, fresh};
use super::common::site::{Site, backup_stick, done};
use super::common::{Call, DAY, Stick, Tree, tool};
use super::oracle::{Key, State, on_disk, on_stick, promised};

/// Archives that stay on a stick, and snapshots that stay whatever their age.
const RETENTION: usize = 3;
const NEWEST: usize = 7;

pub struct World {
    site: Site,
    sticks: Vec<Stick>,
    /// Every state of which there is, or was, a snapshot.
    states: BTreeMap<Key, State>,
    /// Those whose files rotted on the disk.
    rotten: BTreeSet<Key>,
    /// Those whose archives rotted, each with its stick.
    decayed: BTreeSet<(usize, Key)>,
    /// Seconds that the server's clock is ahead.
    clock: i64,
    dice: u64,
    night: u32,
    pub brought_back: u64,
}

impl World {
    pub fn new(seed: u64) -> World {
        let site = fresh();
        let sticks = vec![backup_stick(16), backup_stick(16)];
        let (states, rotten, decayed) = (BTreeMap::new(), BTreeSet::new(), BTreeSet::new());
        let mut world =
            World { site, sticks, states, rotten, decayed, clock: 0, dice: seed, night: 0, brought_back: 0 };
        world.fill();
        world
    }

    /// A number below `sides` (splitmix64).
    fn roll(&mut self, sides: u64) -> u64 {
        self.dice = self.dice.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.dice ^ (self.dice >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }

    fn call(&self, arguments: &[&str]) -> Call<'_> {
        self.site.call(arguments).clock(&format!("{:+}", self.clock))
    }

    /// One day, its night, and perhaps a stick the next morning.
    pub fn night(&mut self, night: u32) {
        (self.night, self.clock) = (night, self.clock + DAY);
        self.day();
        self.snapshot();
        for at in 0..self.sticks.len() {
            if self.roll(3) == 0 {
                self.backup(at);
            }
        }
        self.bring_back_one();
    }

    fn fill(&mut self) {
        let text = format!("night {}", self.night);
        let time = super::common::ago(0) + self.clock;
        self.site.server.master().file("a.csv", &text, time).file("same.csv", "same", 1_700_000_000);
        self.site.server.docviewer().file(format!("{}.pdf", self.night % 3), &text, time);
        self.site.database.psql(&format!("CREATE TABLE IF NOT EXISTS t (a text); INSERT INTO t VALUES ('{text}')"));
    }

    fn day(&mut self) {
        match self.roll(15) {
            0 => drop(self.site.database.psql("DROP TABLE IF EXISTS t")),
            1 => drop(self.site.database.psql("CREATE TABLE IF NOT EXISTS t (a text); DELETE FROM t")),
            2 => drop(self.site.server.tree().dir("docviewer").remove("docviewer").dir("docviewer")),
            3 => drop(self.site.server.tree().dir("master").remove("master")),
            4 => self.clock -= i64::try_from(self.roll(60)).unwrap() * DAY,
            5 => self.clock += i64::try_from(self.roll(60)).unwrap() * DAY,
            6 => {
                self.call(&["clock", "confirm"]).finish().ended(0);
            }
            7 => self.remove_one(),
            8 => self.rot(),
            9 if self.roll(3) == 0 => self.replace(),
            10 => self.decay(),
            11 => self.foreign(),
            12 => self.full(),
            13 => {}
            _ => self.fill(),
        }
    }

    /// An operator removes a snapshot by hand.
    fn remove_one(&mut self) {
        let there = on_disk(&self.site);
        let at = self.roll(there.len().max(1) as u64);
        if let Some((_, tree)) = there.into_iter().nth(usize::try_from(at).unwrap()) {
            fs::remove_dir_all(tree.path("")).unwrap();
        }
    }

    /// A file that all snapshots share rots in them, and somebody looks at the newest.
    fn rot(&mut self) {
        let there = on_disk(&self.site);
        let Some((_, newest)) = there.last_key_value() else { return };
        let file = newest.path("master/same.csv");
        if !file.exists() {
            return;
        }
        let before = |key: &Key| there[key].has("master/same.csv") && there[key].text("master/same.csv") == "same";
        let sound: Vec<Key> = there.keys().filter(|key| before(key)).copied().collect();
        fs::write(&file, "SAME").unwrap();
        tool("touch", &["-d", "@1700000000", file.to_str().unwrap()]);
        self.rotten.extend(sound.into_iter().filter(|key| there[key].text("master/same.csv") != "same"));
        let path = newest.path("");
        self.call(&["restore", "--check", "--snapshot", path.to_str().unwrap()]).fails(2);
    }

    /// What a stick holds, but for what rotted there.
    fn sound_on(&self, at: usize) -> BTreeMap<Key, String> {
        let mut there = on_stick(&self.sticks[at]);
        there.retain(|key, _| !self.decayed.contains(&(at, *key)));
        there
    }

    /// A byte of an archive on a stick is another one.
    fn decay(&mut self) {
        let at = usize::try_from(self.roll(2)).unwrap();
        let there = self.sound_on(at);
        let which = usize::try_from(self.roll(there.len().max(1) as u64)).unwrap();
        let Some((key, name)) = there.into_iter().nth(which) else { return };
        let byte = self.roll(1 << 32);
        self.sticks[at].edit(|root| {
            let mut archive = fs::read(root.path(&name)).unwrap();
            let place = usize::try_from(byte % archive.len() as u64).unwrap();
            archive[place] ^= 1 << (byte % 8);
            fs::write(root.path(&name), archive).unwrap();
        });
        self.decayed.insert((at, key));
        let device = self.sticks[at].device().to_owned();
        self.call(&["restore", "--check", "--device", &device, "--archive", &name]).fails(2);
    }

    /// Somebody plugs in the stick of another server.
    fn foreign(&mut self) {
        let other = Site::new();
        other.snapshot();
        done(other.backup(), "backup export completed");
        let before = other.stick.bytes();
        let run = self.call(&["backup", "--device", other.stick.device()]).finish();
        assert!(matches!(run.code, Some(2 | 3)) && other.stick.bytes() == before, "night {}: {run}", self.night);
    }

    /// The disk is full from some moment of a snapshot on.
    fn full(&mut self) {
        let before: BTreeSet<Key> = on_disk(&self.site).into_keys().collect();
        let inject = format!("inject=mkdirat,fsync,copy_file_range,renameat:error=ENOSPC:when={}+", self.roll(24) + 2);
        let strace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", &inject];
        let live = State::live(&self.site);
        let run = self.call(&["snapshot"]).through(&strace).finish();
        let after = on_disk(&self.site);
        let new: Vec<Key> = after.keys().filter(|key| !before.contains(key)).copied().collect();
        assert!(run.code != Some(0) || new.len() == 1, "night {}: {run}", self.night);
        assert!(before.iter().all(|key| after.contains_key(key)) || run.code == Some(0), "night {}: {run}", self.night);
        for key in new {
            assert_eq!(State::of(&after[&key]), live, "night {}: {run}", self.night);
            self.states.insert(key, live.clone());
        }
    }

    fn snapshot(&mut self) {
        let before: BTreeSet<Key> = on_disk(&self.site).into_keys().collect();
        let live = State::live(&self.site);
        let run = self.call(&["snapshot"]).finish();
        if live.master.is_empty() && !self.site.server.tree().has("master") && run.code == Some(3) {
            return;
        }
        run.ended(0);
        let after = on_disk(&self.site);
        let new: Vec<Key> = after.keys().filter(|key| !before.contains(key)).copied().collect();
        let [new] = new[..] else { panic!("{new:?}\n{run}") };
        assert!(before.iter().all(|old| old.0 < new.0), "night {}: its number was used: {run}", self.night);
        assert_eq!(State::of(&after[&new]), live, "night {}", self.night);
        self.states.insert(new, live);
        for key in promised(&self.states, &before, new, NEWEST) {
            assert!(after.contains_key(&key), "night {}: {key:?} is gone: {run}", self.night);
        }
    }

    fn backup(&mut self, at: usize) {
        let (before, known) = (self.sound_on(at), on_disk(&self.site));
        let device = self.sticks[at].device().to_owned();
        let retention = RETENTION.to_string();
        let call = self.call(&["backup", "--fresh", "24h", "--retention", &retention, "--device", &device]);
        let live = State::live(&self.site);
        let run = call.finish();
        // It may have taken a snapshot first.
        let now = on_disk(&self.site);
        for key in now.keys().filter(|key| !known.contains_key(key)) {
            self.states.insert(*key, live.clone());
        }
        // A server that holds nothing makes no backup.
        if live.filled() == [false; 4] && run.code == Some(3) {
            return;
        }
        run.ended(0);
        let (newest, _) = now.last_key_value().unwrap();
        self.decayed.remove(&(at, *newest));
        let after = self.sound_on(at);
        assert_eq!(after.last_key_value().unwrap().0, newest, "night {}: {run}", self.night);
        assert!(after.keys().filter(|key| key.0 == newest.0).count() == 1, "night {}: {run}", self.night);
        let old: BTreeSet<Key> = before.keys().copied().collect();
        for key in promised(&self.states, &old, *newest, 1) {
            assert!(after.contains_key(&key), "night {}: {key:?} is gone from the stick: {run}", self.night);
        }
        let name = after[newest].clone();
        // Of one that can't be read at its beginning nobody knows how new it is.
        if self.decayed.iter().all(|(other, _)| *other != at) {
            self.brings_back(&["--device", &device], *newest);
        }
        self.brings_back(&["--device", &device, "--archive", &name], *newest);
        let (oldest, name) = after.first_key_value().unwrap();
        self.brings_back(&["--device", &device, "--archive", name], *oldest);
    }

    /// A snapshot of the disk, by its number.
    fn bring_back_one(&mut self) {
        let there: Vec<(Key, Tree)> =
            on_disk(&self.site).into_iter().filter(|(key, _)| !self.rotten.contains(key)).collect();
        let at = usize::try_from(self.roll(there.len().max(1) as u64)).unwrap();
        if let Some((key, tree)) = there.get(at) {
            self.brings_back(&["--snapshot", tree.path("").to_str().unwrap()], *key);
        }
    }

    fn brings_back(&mut self, from: &[&str], key: Key) {
        let dir = tempfile::tempdir().unwrap();
        let dest = Tree::at(dir.path().join("out"));
        let path = dest.path("");
        let arguments = [&["restore", "--dest", path.to_str().unwrap()], from].concat();
        done(self.call(&arguments), "restore completed");
        assert_eq!(State::of(&dest), self.states[&key], "night {}: {key:?} from {from:?}", self.night);
        self.brought_back += 1;
    }

    /// The server dies; another one is made of a stick.
    fn replace(&mut self) {
        let at = usize::try_from(self.roll(2)).unwrap();
        let Some((key, _)) = self.sound_on(at).pop_last() else { return };
        let new = fresh();
        consent(&self.sticks[at]);
        self.site = new;
        let device = self.sticks[at].device().to_owned();
        done(self.call(&["backup", "--device", &device]), "recovery completed archive=");
        assert_eq!(State::live(&self.site), self.states[&key], "night {}: recovered", self.night);
        self.rotten.clear();
        self.brought_back += 1;
    }
}
