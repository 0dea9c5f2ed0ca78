//! The commands: what each begins with, and what is looked at. One that is added here is disturbed like the others; it
//! needs a test in main.rs.

mod dist;
mod ingest;
mod machine;
mod mirror;
mod snapshots;
mod undo;

use crate::world::Subject;

/// All of them, in the order of the table.
pub const ALL: &[Subject] = &[
    ingest::INGEST,
    ingest::INGEST_FIRST,
    dist::FRESH,
    dist::TWO_GENERATIONS,
    dist::IN_PLACE,
    dist::SYNC,
    snapshots::SNAPSHOT,
    snapshots::BACKUP,
    snapshots::BACKUP_AGAIN,
    snapshots::RESTORE,
    snapshots::RESTORE_DATABASE,
    snapshots::RECOVER,
    undo::SERVER,
    undo::STICK,
    machine::ADOPT,
    machine::ENROLL,
    machine::PROVISION,
    mirror::ENABLE,
    mirror::DISABLE,
    mirror::ROTATE,
    mirror::COMPARE,
];
