//! `undo list` and `undo show`: looking at what is kept. Changes nothing.

use std::path::Path;

use serde_json::{Value, json};

use super::super::Env;
use super::all;
use crate::dataset::server::Server;
use crate::dataset::undo::{Place, Side};
use crate::error::Result;
use crate::exchange::assess::open_on_stick;
use crate::exchange::overlay::{self, Fate};
use crate::exchange::put_back_stick as stick;
use crate::os::dir::Dir;
use crate::os::output::Lines;
use crate::text::Shown;
use crate::tree::same::Limits;

/// Lists everything that is kept, the newest first.
pub fn list(env: &Env, as_json: bool) -> Result<()> {
    let server = Server::open(&env.settings, true)?;
    let places = all(&server, None)?;
    let mut lines = Lines::start();
    let result = if as_json {
        let entries: Vec<Value> = places.iter().map(to_json).collect();
        lines.line(&Value::Array(entries).to_string())
    } else if places.is_empty() {
        lines.line("undo/ keeps nothing: no run has replaced any data yet")
    } else {
        places.iter().try_for_each(|place| lines.line(&to_text(place)))
    };
    lines.end(result)
}

/// `2026-01-31_023000  server  master     3 replaced, 1 added, 0 deleted  ingest  TM-INGEST 1A2B-3C4D`, and what is
/// to be known of it.
fn to_text(place: &Place) -> String {
    let part = &place.part;
    let side = if part.side == Side::Server { "server" } else { "stick" };
    let added = part.copied.saturating_sub(part.replaced);
    let note = match (part.done, part.lost, part.acknowledged) {
        (false, ..) => "  (unfinished: going on, or cut off; the next run clears that up)",
        (_, true, false) => "  LOST EDITS, not acknowledged",
        (_, true, true) => "  lost edits, acknowledged",
        _ => "",
    };
    format!(
        "{:<19}  {side:<6}  {:<9}  {} replaced, {added} added, {} deleted  {}  {} {}{note}",
        place.when(),
        place.dataset().name(),
        part.replaced,
        part.deleted,
        Shown(part.job.as_bytes()),
        Shown(part.label.as_bytes()),
        Shown(part.uuid.as_bytes()),
    )
}

fn to_json(place: &Place) -> Value {
    let part = &place.part;
    json!({
        "when": place.when(),
        "time": part.time,
        "unix": part.unix,
        "job": part.job,
        "side": part.side,
        "label": part.label,
        "uuid": part.uuid,
        "dataset": place.dataset().name(),
        "replaced": part.replaced,
        "added": part.copied.saturating_sub(part.replaced),
        "deleted": part.deleted,
        "lost": part.lost,
        "lost_files": part.lost_files,
        "lost_names": part.lost_names,
        "acknowledged": part.acknowledged,
        "done": part.done,
    })
}

/// Shows what putting back would do now, a line a file.
pub fn show(env: &Env, server: &Server, places: &[Place], device: Option<&Path>) -> Result<()> {
    let mut lines = Lines::start();
    let result = show_all(env, server, places, device, &mut lines);
    lines.end(result)
}

fn show_all(env: &Env, server: &Server, places: &[Place], device: Option<&Path>, lines: &mut Lines) -> Result<()> {
    for place in places.iter().filter(|place| place.part.side == Side::Server) {
        let live = server.dataset(place.dataset())?;
        difference(place, live.as_ref(), Limits::EXT, lines)?;
    }
    let of_stick: Vec<&Place> = places.iter().filter(|place| place.part.side == Side::Stick).collect();
    let Some(first) = of_stick.first() else {
        return Ok(());
    };
    let stick = stick::open(env, &first.part, &stick::device(env, device)?)?;
    let shown = of_stick.iter().try_for_each(|place| {
        let on_stick = open_on_stick(&stick, place.dataset())?;
        difference(place, on_stick.as_ref(), stick.limits(), lines)
    });
    shown.and(stick.release())
}

fn difference(place: &Place, live: Option<&Dir>, limits: Limits, lines: &mut Lines) -> Result<()> {
    let kept = place.kept()?;
    let name = place.dataset().name();
    let found = overlay::look(place, kept.as_ref(), live, limits, |walk, fate, left, right| {
        let path = walk.shown();
        lines.line(&match (fate, left, right) {
            (Fate::Restore, Some(kept), None) => format!("add      {name}/{path} ({} bytes)", kept.size),
            (Fate::Restore, Some(kept), Some(_)) => format!("replace  {name}/{path} ({} bytes)", kept.size),
            _ => format!("delete   {name}/{path}"),
        })
    })?;
    let edited = [("edited since, replaced all the same", &found.lost), ("edited since, stays", &found.left)];
    edited
        .iter()
        .flat_map(|(how, lost)| lost.names.iter().map(move |path| (how, path)))
        .try_for_each(|(how, path)| lines.line(&format!("{how}: {name}/{path}")))
}
