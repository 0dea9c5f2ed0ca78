//! Short histories that once went wrong, or that tell the oracle's rules by example.

use crate::common::DAY;
use crate::history::History;
use crate::media::Kind;
use crate::must_hold;
use crate::steps::{Act, At, Consent, Disturbed, Edit, Meta, Step, Timed, Visit};

const PLAIN: Visit = Visit::plain(0);

/// A person writes files of `master`, and leaves meta.json as it is.
fn writes(at: At, paths: &[usize]) -> Step {
    let acts = paths.iter().map(|path| Act::Write { path: *path, longer: false }).collect();
    Step::Edit(Edit { at, dataset: 0, acts, meta: Meta::Untouched, clock: 0, kept: None, pulled: false })
}

/// The same, and sets `updated_at` by a clock that is so many seconds ahead.
fn writes_and_sets(at: At, paths: &[usize], clock: i64) -> Step {
    match writes(at, paths) {
        Step::Edit(edit) => Step::Edit(Edit { meta: Meta::Set, clock, ..edit }),
        other => other,
    }
}

fn visits(stick: usize) -> Step {
    Step::Ingest(Visit { stick, ..PLAIN })
}

/// Stick A brings four files to the server, and then those steps, an hour after one another.
fn after_the_first_visit(steps: Vec<Step>) -> History {
    let begin = [writes_and_sets(At::Stick(0), &[0, 1, 2, 3], 0), visits(0)];
    let steps = begin.into_iter().chain(steps).map(|step| Timed { after: 3600, step }).collect();
    History { servers: 1, kinds: vec![Kind::Ext4], steps }
}

#[test]
fn a_clone_one_generation_behind_follows() {
    must_hold(&after_the_first_visit(vec![Step::Clone { stick: 0 }, writes(At::Stick(0), &[0]), visits(0), visits(1)]));
}

#[test]
fn an_edited_clone_and_an_edited_original_lose_nothing_untold() {
    must_hold(&after_the_first_visit(vec![
        Step::Clone { stick: 0 },
        writes(At::Stick(0), &[0]),
        writes(At::Stick(1), &[1]),
        visits(0),
        visits(1),
    ]));
}

#[test]
fn an_image_written_back_follows() {
    must_hold(&after_the_first_visit(vec![
        Step::TakeImage { stick: 0 },
        writes(At::Stick(0), &[0]),
        visits(0),
        Step::WriteBack { stick: 0 },
        visits(0),
    ]));
}

#[test]
fn a_deleted_manifest_loses_nothing_untold() {
    must_hold(&after_the_first_visit(vec![
        writes(At::Server(0), &[0]),
        Step::Manifest { stick: 0, torn: false },
        writes_and_sets(At::Stick(0), &[1], 0),
        visits(0),
    ]));
}

#[test]
fn a_torn_manifest_loses_nothing_untold() {
    must_hold(&after_the_first_visit(vec![
        writes_and_sets(At::Server(0), &[0, 4], 0),
        Step::Manifest { stick: 0, torn: true },
        writes(At::Stick(0), &[1]),
        visits(0),
    ]));
}

#[test]
fn edits_on_both_sides_are_told_whoever_wins() {
    for (on_stick, on_server) in [(600, 0), (0, 600)] {
        must_hold(&after_the_first_visit(vec![
            writes_and_sets(At::Stick(0), &[0, 4], on_stick),
            writes_and_sets(At::Server(0), &[1, 5], on_server),
            visits(0),
        ]));
    }
}

#[test]
fn consent_replaces_and_tells() {
    for consent in [Consent::File, Consent::Force] {
        must_hold(&after_the_first_visit(vec![writes(At::Server(0), &[0]), Step::Ingest(Visit { consent, ..PLAIN })]));
    }
}

#[test]
fn a_file_renamed_on_the_losing_side_is_not_lost() {
    let renames = Edit {
        at: At::Stick(0),
        dataset: 0,
        acts: vec![Act::Rename { from: 0, to: 4 }],
        meta: Meta::Untouched,
        clock: 0,
        kept: None,
        pulled: false,
    };
    must_hold(&after_the_first_visit(vec![
        Step::Edit(renames),
        writes_and_sets(At::Server(0), &[1], DAY / 24),
        visits(0),
    ]));
}

#[test]
fn droppings_stay_where_they_are() {
    let drop = |at, dataset, which| Step::Dropping { at, dataset, which };
    must_hold(&after_the_first_visit(vec![
        drop(At::Server(0), 0, 0),
        drop(At::Server(0), 0, 1),
        drop(At::Stick(0), 0, 4),
        drop(At::Stick(0), 2, 7),
        writes(At::Stick(0), &[0]),
        visits(0),
        writes(At::Server(0), &[0]),
        visits(0),
    ]));
}

#[test]
fn an_undo_holds_against_the_stick() {
    must_hold(&after_the_first_visit(vec![
        writes(At::Stick(0), &[0]),
        visits(0),
        Step::UndoPut { server: 0 },
        visits(0),
    ]));
}

#[test]
fn what_a_late_program_saves_is_kept_and_told() {
    for instant in [0, 200, 400, 600, 800, 1000, 1200] {
        let disturbed = Disturbed::Late { instant, dataset: 0, path: 1 };
        must_hold(&after_the_first_visit(vec![
            writes(At::Stick(0), &[0]),
            Step::Ingest(Visit { disturbed, ..PLAIN }),
            visits(0),
        ]));
    }
}
