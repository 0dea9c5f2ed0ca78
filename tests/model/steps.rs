//! What can happen in a history: each step as plain data, so that it can be dropped, made simpler and told.
//!
//! Sticks and servers are meant by number, modulo how many there are when the step is played: a step keeps its meaning
//! when others are dropped. A step that can't be done then does nothing.

/// The two datasets.
pub const DATASETS: [&str; 2] = ["master", "docviewer"];

/// Every name that a person gives a file. The last two take the place of a directory, and make one of a file.
pub const PATHS: [&str; 8] = ["a.csv", "b.csv", "c.csv", "sub/d.csv", "sub/e.csv", "other/f.csv", "sub", "a.csv/g.csv"];

/// What programs leave behind, inside a dataset and in a stick's root.
pub const DROPPINGS: [&str; 8] = [
    "Thumbs.db",
    "sub/.DS_Store",
    "._a.csv",
    "~$a.xlsx",
    ".~lock.a.csv#",
    "@eaDir/thumb",
    "$RECYCLE.BIN/desktop.ini",
    "System Volume Information/WPSettings.dat",
];

/// A step, and how many seconds after the one before it happens.
#[derive(Clone, Debug, PartialEq)]
pub struct Timed {
    pub after: i64,
    pub step: Step,
}

/// Something that happens.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    Edit(Edit),
    Ingest(Visit),
    Clone { stick: usize },
    TakeImage { stick: usize },
    WriteBack { stick: usize },
    Manifest { stick: usize, torn: bool },
    WipeRole { stick: usize },
    MakeRole { stick: usize },
    Reformat { stick: usize },
    Dropping { at: At, dataset: usize, which: usize },
    UndoPut { server: usize },
    Acknowledge { server: usize },
    Export { server: usize, renamed: Option<usize> },
    RotDist { dataset: usize, path: usize },
    EditDist { dataset: usize, path: usize },
    Sync { checksum: bool },
}

/// A person's medium.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum At {
    Server(usize),
    Stick(usize),
}

/// A person at work on one dataset.
#[derive(Clone, Debug, PartialEq)]
pub struct Edit {
    pub at: At,
    pub dataset: usize,
    pub acts: Vec<Act>,
    pub meta: Meta,
    /// How many seconds that PC's clock is ahead.
    pub clock: i64,
    /// Files come with a time of so many seconds ago, as copying keeps it.
    pub kept: Option<i64>,
    /// The stick is pulled out without being ejected.
    pub pulled: bool,
}

/// One thing that a person does.
#[derive(Clone, Debug, PartialEq)]
pub enum Act {
    Write { path: usize, longer: bool },
    Delete { path: usize },
    Rename { from: usize, to: usize },
    Link { from: usize, to: usize },
    Empty,
    RemoveDataset,
}

/// What becomes of meta.json.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Meta {
    Untouched,
    Set,
    Garbage,
    Removed,
}

/// A stick is ingested.
#[derive(Clone, Debug, PartialEq)]
pub struct Visit {
    pub stick: usize,
    pub server: usize,
    pub consent: Consent,
    pub checksum: bool,
    /// A dry run comes before it.
    pub rehearsed: bool,
    pub disturbed: Disturbed,
}

impl Visit {
    /// Of a stick to the first server: nobody asks for anything, nothing happens meanwhile.
    pub const fn plain(stick: usize) -> Visit {
        Visit { stick, server: 0, consent: Consent::None, checksum: false, rehearsed: false, disturbed: Disturbed::Not }
    }
}

/// How a person says that the stick is to win.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Consent {
    None,
    File,
    Force,
}

/// What happens meanwhile. Instants are thousandths of a usual run's time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Disturbed {
    Not,
    /// A program that had opened the server's dataset before saves a file into what it has open.
    Late {
        instant: u64,
        dataset: usize,
        path: usize,
    },
    /// The run is killed; what it has written reaches the stick.
    Killed {
        instant: u64,
    },
    /// The run is killed, and the stick keeps what had reached it.
    Pulled {
        instant: u64,
    },
    /// The run goes on to its end, but what it writes from then on never reaches the stick.
    Unflushed {
        instant: u64,
    },
}

/// A stick's name.
pub fn letter(stick: usize) -> char {
    char::from(b'A' + u8::try_from(stick % 26).unwrap())
}

/// A path that a step means.
pub fn path(number: usize) -> &'static str {
    PATHS[number % PATHS.len()]
}
