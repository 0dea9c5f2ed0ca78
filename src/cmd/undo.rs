//! `toolmaster undo`: what earlier runs replaced is listed, compared, put back, and what was lost is acknowledged (SPEC 6).

mod copy;
mod list;

use std::cell::RefCell;
use std::path::PathBuf;

use argh::FromArgs;
use log::{error, info};
use serde_json::json;

use super::{Env, Report, note_kept};
use crate::dataset::Dataset;
use crate::dataset::server::Server;
use crate::dataset::undo::{self, Place, Side};
use crate::error::{Error, Result};
use crate::exchange::assess::doubt_clock;
use crate::exchange::hooks;
use crate::exchange::put_back_server::{self, Done, PutBack};
use crate::exchange::put_back_stick;
use crate::exchange::replace::recover;

/// See what runs replaced on the server and on sticks, and put it back.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "undo")]
pub struct Args {
    /// print the list as JSON
    #[argh(switch)]
    json: bool,
    #[argh(subcommand)]
    what: Option<What>,
}

#[derive(FromArgs, Debug)]
#[argh(subcommand)]
enum What {
    List(List),
    Show(Show),
    Put(Put),
    Acknowledge(Acknowledge),
}

/// List what is kept, the newest run first.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "list")]
struct List {
    /// print JSON
    #[argh(switch)]
    json: bool,
}

/// Show which files putting a run's data back would add, replace and delete.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "show")]
struct Show {
    /// the run's name in the list, or "latest"
    #[argh(positional)]
    when: String,
    /// only this dataset: master or docviewer
    #[argh(option, from_str_fn(dataset))]
    dataset: Option<Dataset>,
    /// where the stick is, if it was a stick's data; without it the one stick with the label is taken
    #[argh(option)]
    device: Option<PathBuf>,
}

/// Put back what a run replaced: on the server, or on the stick that it was on.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "put")]
pub struct Put {
    /// the run's name in the list, or "latest"
    #[argh(positional)]
    when: String,
    /// only this dataset: master or docviewer
    #[argh(option, from_str_fn(dataset))]
    dataset: Option<Dataset>,
    /// where the stick is, if it was a stick's data; without it the one stick with the label is taken
    #[argh(option)]
    device: Option<PathBuf>,
    /// copy the kept data into this new or empty directory instead
    #[argh(option)]
    to: Option<PathBuf>,
    /// also onto a stick that was edited since, and also if nothing was kept
    #[argh(switch)]
    force: bool,
    /// log what would be done and change nothing
    #[argh(switch)]
    dry_run: bool,
}

/// Say that lost edits were seen: from then on they are kept no longer than other runs' data.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "acknowledge")]
struct Acknowledge {
    /// the run's name in the list, "latest" or "all"
    #[argh(positional)]
    when: String,
    /// only this dataset: master or docviewer
    #[argh(option, from_str_fn(dataset))]
    dataset: Option<Dataset>,
}

fn dataset(name: &str) -> std::result::Result<Dataset, String> {
    let found = Dataset::ALL.into_iter().find(|dataset| dataset.name() == name);
    found.ok_or_else(|| "it must be master or docviewer".to_owned())
}

impl Args {
    /// Whether it only looks: then nothing is logged in files.
    pub fn looks_only(&self) -> bool {
        match &self.what {
            None | Some(What::List(_) | What::Show(_)) => true,
            Some(What::Put(put)) => put.dry_run,
            Some(What::Acknowledge(_)) => false,
        }
    }
}

/// Carries it out.
///
/// # Errors
/// SPEC 3; `NoSource` if there is no such run.
pub fn run(args: &Args, env: &Env) -> Result<()> {
    match &args.what {
        None => list::list(env, args.json),
        Some(What::List(list)) => list::list(env, args.json || list.json),
        Some(What::Show(show)) => {
            let server = Server::open(&env.settings, true)?;
            let places = select(&server, &show.when, show.dataset)?;
            list::show(env, &server, &places, show.device.as_deref())
        }
        Some(What::Put(args)) => {
            let mut report = Report::new("undo");
            let result = put(args, env, &mut report);
            if !args.dry_run {
                report.end(env, result.as_ref().err());
            }
            result?;
            info!("undo completed (dry_run={})", u8::from(args.dry_run));
            Ok(())
        }
        Some(What::Acknowledge(args)) => {
            let mut report = Report::new("undo");
            let result = acknowledge(args, env, &mut report);
            report.end(env, result.as_ref().err());
            result
        }
    }
}

fn put(args: &Put, env: &Env, report: &mut Report) -> Result<()> {
    let server = Server::open(&env.settings, args.dry_run)?;
    if !args.dry_run {
        finish_cut_off(&server, args.dataset)?;
    }
    let places = select(&server, &args.when, args.dataset)?;
    if let Some(to) = &args.to {
        if args.device.is_some() {
            return Err(Error::Usage("--to and --device exclude each other".to_owned()));
        }
        return copy::run(&server, &places, to, args.dry_run);
    }
    let (of_server, of_stick): (Vec<Place>, Vec<Place>) =
        places.into_iter().partition(|place| place.part.side == Side::Server);
    if args.device.is_some() && of_stick.is_empty() {
        return Err(Error::Usage("that run replaced the server's data, which needs no --device".to_owned()));
    }
    let belief = server.belief(env.clock)?;
    doubt_clock(&belief, env.clock);
    let (force, dry_run) = (args.force, args.dry_run);
    let run = PutBack { env, server: &server, belief: &belief, force, dry_run, undo_name: RefCell::new(None) };
    let on_server = each(&of_server, report, &mut |place| put_back_server::put_back(&run, place));
    let on_stick = put_back_stick::put_back(&run, &of_stick, args.device.as_deref(), report, each);
    let hooked = if dry_run { Ok(()) } else { hooks::run_due(&server) };
    match (on_server, on_stick.and(hooked)) {
        (Err(first), Err(second)) => {
            error!("{second}");
            Err(first)
        }
        (first, second) => first.and(second),
    }
}

/// One kept dataset after the other; the second is done even if the first is refused.
fn each(places: &[Place], report: &mut Report, work: &mut dyn FnMut(&Place) -> Result<Done>) -> Result<()> {
    let mut first_error = None;
    for place in places {
        let result = work(place);
        let (word, reason) = match &result {
            Ok(Done { changed: true, .. }) => ("put back", format!("what {} replaced", place.when())),
            Ok(_) => ("nothing to do", "equal contents".to_owned()),
            Err(error) => (error.result_word(), error.to_string()),
        };
        let (copied, deleted, bytes) = result.as_ref().map_or((0, 0, 0), |done| (done.files, done.deleted, done.bytes));
        report.bytes = report.bytes.saturating_add(bytes);
        let mut value = json!({"outcome": word, "reason": reason, "side": place.part.side, "copied": copied,
            "deleted": deleted, "bytes": bytes, "lost": result.as_ref().map_or(0, |done| done.lost.files)});
        if let Ok(Done { lost, kept_in: Some(when), .. }) = &result
            && lost.files > 0
        {
            let kept_in = format!("undo/{when}/{}", place.dataset().name());
            note_kept(&mut value, "lost", lost.files, &kept_in, &lost.names);
        }
        report.datasets.insert(place.dataset().name().to_owned(), value);
        match (result, &first_error) {
            (Ok(_), _) => {}
            (Err(Error::Interrupted), _) => return Err(Error::Interrupted),
            (Err(error), None) => first_error = Some(error),
            (Err(error), Some(_)) => error!("{error}"),
        }
    }
    first_error.map_or(Ok(()), Err)
}

/// Brings runs that were cut off to their end, so that what they left is there or not.
fn finish_cut_off(server: &Server, only: Option<Dataset>) -> Result<()> {
    for dataset in Dataset::ALL.into_iter().filter(|dataset| only.is_none_or(|only| only == *dataset)) {
        let _lock = server.lock(dataset)?;
        recover(server, dataset)?;
    }
    Ok(())
}

/// Everything that is kept, the newest first.
fn all(server: &Server, only: Option<Dataset>) -> Result<Vec<Place>> {
    let mut places = Vec::new();
    if let Some(undo) = server.undo_if_there()? {
        for dataset in Dataset::ALL.into_iter().filter(|dataset| only.is_none_or(|only| only == *dataset)) {
            places.extend(undo::list(&undo, dataset)?);
        }
    }
    places.sort_by_key(|place| std::cmp::Reverse(place.part.seq));
    Ok(places)
}

/// What the run of that name replaced, in the order in which datasets are worked on.
fn select(server: &Server, when: &str, only: Option<Dataset>) -> Result<Vec<Place>> {
    let mut places: Vec<Place> = all(server, only)?.into_iter().filter(|place| place.part.done).collect();
    let name = match places.first() {
        Some(newest) if when == "latest" => newest.when(),
        _ => when.to_owned(),
    };
    let mut there: Vec<String> = places.iter().map(Place::when).collect();
    there.dedup();
    places.retain(|place| place.when() == name);
    places.sort_by_key(Place::dataset);
    if places.is_empty() {
        let there = if there.is_empty() { "nothing".to_owned() } else { there.join(", ") };
        let which = only.map_or(String::new(), |dataset| format!(" of {}", dataset.name()));
        return Err(Error::NoSource {
            why: format!("undo/ keeps nothing{which} under the name \"{when}\"; there is: {there}"),
            next: "take a name from \"toolmaster undo list\"",
        });
    }
    Ok(places)
}

fn acknowledge(args: &Acknowledge, env: &Env, report: &mut Report) -> Result<()> {
    let server = Server::open(&env.settings, false)?;
    finish_cut_off(&server, args.dataset)?;
    let places = match args.when.as_str() {
        "all" => all(&server, args.dataset)?,
        when => select(&server, when, args.dataset)?,
    };
    let mut seen = 0;
    for chosen in &places {
        let dataset = chosen.dataset();
        let _lock = server.lock(dataset)?;
        let undo = server.undo()?;
        // Read anew: a run may have changed or removed it until the lock was ours.
        let mut found = undo::list(&undo, dataset)?.into_iter().filter(|place| place.part.seq == chosen.part.seq);
        if let Some(mut place) = found.find(|place| place.part.lost && !place.part.acknowledged) {
            place.part.acknowledged = true;
            place.save()?;
            seen += 1;
            info!("{}: the lost edits of {} are acknowledged", dataset.name(), place.when());
            report.datasets.insert(dataset.name().to_owned(), json!({"outcome": "acknowledged"}));
        }
    }
    if seen == 0 {
        info!("there are no lost edits to acknowledge");
    }
    Ok(())
}
