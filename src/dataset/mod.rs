//! The two datasets, `master/` and `docviewer/`: what is known of both sides, who wins, and how the winner replaces
//! the other (SPEC 6).

pub mod decide;
pub mod meta;
mod moved;
pub mod places;
pub mod publish;
pub mod receive;
pub mod room;
pub mod server;
pub mod stage;
pub mod stick_state;
pub mod strip;
pub mod survey;
pub mod taken;
pub mod terminal;
pub mod undo;
pub mod writeback;

/// One of the datasets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Dataset {
    /// The tool master's CSV files.
    Master,
    /// The drawings and documents.
    Docviewer,
}

impl Dataset {
    /// Both, in the order in which they are worked on.
    pub const ALL: [Dataset; 2] = [Dataset::Master, Dataset::Docviewer];

    /// Its directory's name on a stick, and its name in logs.
    pub fn name(self) -> &'static str {
        match self {
            Dataset::Master => "master",
            Dataset::Docviewer => "docviewer",
        }
    }

    /// What the paths of its files begin with in the manifest of a stick or a snapshot.
    pub fn prefix(self) -> &'static [u8] {
        match self {
            Dataset::Master => b"master/",
            Dataset::Docviewer => b"docviewer/",
        }
    }
}
