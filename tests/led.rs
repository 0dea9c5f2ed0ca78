//! The lights: what they show before, during and after each outcome of a job, and what they do when the stick is gone.
//!
//! This machine's real lights are no test's business, and most machines have none: a directory with plain files of the
//! names that the kernel's leds-class uses stands in for `/sys/class/leds`. What the program writes there is what the
//! kernel would be told; that the kernel then blinks is its own doing.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::fs;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard};

use common::{Run, Server, Stick, Tree, ago, in_step, noise};

/// What is known of the sticks lies in one place for all.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Stand-ins for ACT (which tells of the card), PWR (which is always on) and a buzzer.
struct Lights {
    leds: Tree,
    server: Server,
    _dir: tempfile::TempDir,
    _alone: MutexGuard<'static, ()>,
}

const BEFORE: [(&str, &str, &str); 3] = [
    ("ACT", "none [mmc0] timer pattern\n", "0\n"),
    ("PWR", "none mmc0 [default-on] timer\n", "1\n"),
    ("bell", "[none] timer\n", "0\n"),
];

impl Lights {
    fn new() -> Lights {
        let alone = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let _ = fs::remove_dir_all("/run/toolmaster/led");
        let dir = tempfile::tempdir().unwrap();
        let leds = Tree::at(dir.path());
        for (name, trigger, brightness) in BEFORE {
            leds.file(format!("{name}/trigger"), trigger, ago(9)).file(
                format!("{name}/brightness"),
                brightness,
                ago(9),
            );
            leds.file(format!("{name}/delay_on"), "", ago(9)).file(format!("{name}/delay_off"), "", ago(9));
        }
        Lights { leds, server: Server::new(), _dir: dir, _alone: alone }
    }

    fn led(&self, arguments: &[&str]) -> common::Call<'_> {
        let call = self.server.call(&[&["led"], arguments].concat());
        call.var("LED_DIR", self.leds.path("")).var("LED_BUZZER", "bell")
    }

    /// As systemd runs it after a job: with the job's result.
    fn ended(&self, stick: &Stick, job: &Run) {
        let result = if job.code == Some(0) { "success" } else { "exit-code" };
        let status = job.code.unwrap().to_string();
        let led = self.led(&["ended", stick.device()]);
        led.var("SERVICE_RESULT", result).var("EXIT_CODE", "exited").var("EXIT_STATUS", status).finish().ended(0);
    }

    fn set(&self, what: &str, stick: &Stick) {
        self.led(&[what, stick.device()]).finish().ended(0);
    }

    /// What a light was told last: its trigger and, where it blinks, milliseconds on and off.
    fn shows(&self, light: &str) -> String {
        let text = |name: &str| self.leds.text(format!("{light}/{name}")).trim().to_owned();
        match text("trigger").as_str() {
            "timer" => format!("{} {}", text("delay_on"), text("delay_off")),
            other => other.to_owned(),
        }
    }

    /// All three do that; the buzzer something else.
    fn show(&self, shown: &str, bell: &str) {
        assert_eq!([self.shows("ACT"), self.shows("PWR"), self.shows("bell")], [shown, shown, bell]);
    }

    /// What they did before.
    fn show_nothing(&self) {
        let kept = [self.shows("ACT"), self.shows("PWR"), self.shows("bell")];
        let names = kept.map(|shown| {
            shown.split_once('[').map_or(shown.clone(), |(_, rest)| rest.split_once(']').unwrap().0.to_owned())
        });
        assert_eq!(names, ["mmc0", "default-on", "none"]);
        assert_eq!(self.leds.text("bell/brightness"), "0\n");
        assert!(fs::read_dir("/run/toolmaster/led").unwrap().next().is_none(), "nothing is noted any more");
    }
}

const WORKING: &str = "100 100";
const DONE: &str = "1000 1000";
const REFUSED: &str = "150 1850";
const FAILED: &str = "1850 150";

#[test]
fn each_outcome_of_a_job_has_its_light() {
    let lights = Lights::new();
    let (server, good) = in_step();
    let wrong = Stick::labelled("TM-INGEST", 16);
    wrong.edit(|root| {
        root.file(".toolmaster/role", "DIST", ago(60));
    });
    let large = common::stick_in_step(&server);
    large.edit(|root| {
        root.sub("master").file("large.bin", noise(1, 64), ago(60));
        fs::File::options().write(true).open(root.path("master/large.bin")).unwrap().set_len(1 << 40).unwrap();
    });
    for (stick, code, shown) in [(&good, 0, DONE), (&wrong, 2, REFUSED), (&large, 1, FAILED)] {
        lights.set("working", stick);
        lights.show(WORKING, "[none] timer");
        let job = server.call(&["ingest", "--device", stick.device()]).finish();
        job.ended(code);
        lights.ended(stick, &job);
        lights.show(shown, shown);
        lights.set("off", stick);
        lights.show_nothing();
        // As the kernel would say it.
        for (name, trigger, _) in BEFORE {
            lights.leds.file(format!("{name}/trigger"), trigger, ago(9));
        }
    }
}

#[test]
fn a_job_that_did_not_begin_or_was_killed() {
    let (lights, stick) = (Lights::new(), Stick::ingest());
    lights.set("done", &stick);
    // The stick's job has run before: systemd looks at its condition at every event of the stick.
    lights
        .led(&["ended", stick.device()])
        .var("SERVICE_RESULT", "exec-condition")
        .var("EXIT_STATUS", "3")
        .finish()
        .ended(0);
    lights.show(DONE, DONE);
    lights
        .led(&["ended", stick.device()])
        .var("SERVICE_RESULT", "timeout")
        .var("EXIT_STATUS", "KILL")
        .finish()
        .ended(0);
    lights.show(FAILED, FAILED);
    lights.set("off", &stick);
}

#[test]
fn the_most_urgent_of_several_sticks_is_shown_until_that_is_gone() {
    let (lights, one, two) = (Lights::new(), Stick::ingest(), Stick::ingest());
    lights.set("done", &one);
    lights.set("working", &two);
    lights.show(WORKING, "none");
    lights.set("refused", &two);
    lights.show(REFUSED, REFUSED);
    lights.set("failed", &one);
    lights.show(FAILED, FAILED);
    lights.set("off", &one);
    lights.show(REFUSED, REFUSED);
    lights.set("off", &two);
    lights.show_nothing();
}

#[test]
fn a_stick_that_is_gone_without_a_word_is_forgotten() {
    let (lights, stick) = (Lights::new(), Stick::ingest());
    lights.led(&["failed", "/dev/sd-that-was-pulled"]).finish().ended(0);
    lights.show_nothing();
    lights.led(&["failed", "/dev/sd-that-was-pulled"]).finish().ended(0);
    lights.set("done", &stick);
    lights.show(DONE, DONE);
    // A killed run leaves its note of what a light did before: that one counts, not what the light does now.
    lights.set("working", &stick);
    lights.set("off", &stick);
    lights.show_nothing();
}

#[test]
fn a_foreign_stick_is_noted_as_refused_by_the_guard_and_then_shown() {
    let (lights, stick) = (Lights::new(), Stick::blank("HOLIDAY", 16));
    lights.server.call(&["stick", "guard", stick.device()]).finish().ended(0);
    lights.led(&["show"]).finish().ended(0);
    lights.show(REFUSED, REFUSED);
    lights.set("off", &stick);
    lights.show_nothing();
}

#[test]
fn a_blinking_light_blinks_again_as_before() {
    let (lights, stick) = (Lights::new(), Stick::ingest());
    let leds = &lights.leds;
    leds.file("ACT/trigger", "none [timer]\n", ago(9)).file("ACT/delay_on", "7\n", ago(9)).file(
        "ACT/delay_off",
        "9\n",
        ago(9),
    );
    leds.file("PWR/trigger", "[none] timer\n", ago(9)).file("PWR/brightness", "1\n", ago(9));
    lights.set("done", &stick);
    lights.show(DONE, DONE);
    // What the kernel does when a trigger is taken away.
    leds.file("PWR/brightness", "0\n", ago(9));
    lights.set("off", &stick);
    assert_eq!((lights.shows("ACT").as_str(), lights.shows("PWR").as_str()), ("7 9", "none"));
    assert_eq!(leds.text("PWR/brightness"), "1\n");
}

#[test]
fn without_lights_a_unit_is_silent_and_a_person_is_told() {
    let (lights, stick) = (Lights::new(), Stick::ingest());
    let missing = PathBuf::from("/run/no-lights");
    let call = || lights.led(&["done", stick.device()]).var("LED_DIR", &missing).var("LED_BUZZER", "");
    let run = call().fails(78);
    assert!(run.stderr.contains("there is none of the lights ACT PWR in /run/no-lights"), "{run}");
    // As systemd starts a unit's process: with its own number.
    let run = call().through_shell("export SYSTEMD_EXEC_PID=$$; exec \"$@\"").finish();
    assert_eq!((run.ended(0).stderr.as_str(), missing.exists()), ("", false));
    lights.led(&["done"]).fails(64);
    lights.led(&["blue", stick.device()]).fails(64);
    lights.set("off", &stick);
}
