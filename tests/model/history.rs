//! A history: who there is, and what happens.

use std::fmt::{self, Display, Formatter};

use crate::media::Kind;
use crate::steps::{At, Edit, Step, Timed};

/// No more sticks are made by cloning.
pub const MOST_STICKS: usize = 5;

/// What happened, from the beginning.
#[derive(Clone, Debug)]
pub struct History {
    pub servers: usize,
    pub kinds: Vec<Kind>,
    pub steps: Vec<Timed>,
}

impl Display for History {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} server(s), sticks: {:?}", self.servers, self.kinds)?;
        for (number, timed) in self.steps.iter().enumerate() {
            writeln!(f, "{:3}. (+{} min) {}", number + 1, timed.after / 60, timed.step)?;
        }
        write!(f, "{:3}. every stick visits server 0 twice", self.steps.len() + 1)
    }
}

impl History {
    /// The same with the numbers of sticks and servers that are really meant.
    pub fn resolved(&self) -> History {
        let mut history = self.clone();
        let mut sticks = history.kinds.len();
        for timed in &mut history.steps {
            match &mut timed.step {
                Step::Ingest(visit) => {
                    visit.stick %= sticks;
                    visit.server %= history.servers;
                }
                Step::Edit(Edit { at, .. }) | Step::Dropping { at, .. } => match at {
                    At::Stick(stick) => *stick %= sticks,
                    At::Server(server) => *server %= history.servers,
                },
                Step::Clone { stick } => {
                    *stick %= sticks;
                    sticks = (sticks + 1).min(MOST_STICKS);
                }
                Step::TakeImage { stick }
                | Step::WriteBack { stick }
                | Step::Manifest { stick, .. }
                | Step::WipeRole { stick }
                | Step::MakeRole { stick }
                | Step::Reformat { stick } => *stick %= sticks,
                Step::UndoPut { server } | Step::Acknowledge { server } | Step::Export { server, .. } => {
                    *server %= history.servers;
                }
                Step::RotDist { .. } | Step::EditDist { .. } | Step::Sync { .. } => {}
            }
        }
        history
    }
}
