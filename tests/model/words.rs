//! Steps in words, for those who read a history that went wrong.

use std::fmt::{self, Display, Formatter};

use crate::steps::{Act, At, Consent, DATASETS, DROPPINGS, Disturbed, Edit, Meta, Step, Visit, letter, path};

impl Display for At {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            At::Server(number) => write!(f, "server {number}"),
            At::Stick(number) => write!(f, "stick {}", letter(*number)),
        }
    }
}

impl Display for Act {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match *self {
            Act::Write { path: number, longer } => {
                write!(f, "writes {}{}", path(number), if longer { " (longer)" } else { "" })
            }
            Act::Delete { path: number } => write!(f, "deletes {}", path(number)),
            Act::Rename { from, to } => write!(f, "renames {} to {}", path(from), path(to)),
            Act::Link { from, to } => write!(f, "links {} to {}", path(from), path(to)),
            Act::Empty => write!(f, "deletes every file"),
            Act::RemoveDataset => write!(f, "removes the whole directory"),
        }
    }
}

impl Display for Edit {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.at {
            At::Server(number) => write!(f, "a person on server {number}, in {}: ", DATASETS[self.dataset])?,
            At::Stick(number) => write!(f, "PC-{0} on stick {0}, in {1}: ", letter(number), DATASETS[self.dataset])?,
        }
        let acts: Vec<_> = self.acts.iter().map(ToString::to_string).collect();
        write!(f, "{}", acts.join(", "))?;
        match self.meta {
            Meta::Untouched => {}
            Meta::Set => write!(f, "; sets updated_at")?,
            Meta::Garbage => write!(f, "; makes meta.json unreadable")?,
            Meta::Removed => write!(f, "; deletes meta.json")?,
        }
        if self.clock != 0 {
            write!(f, "; its clock is {:+} s off", self.clock)?;
        }
        if let Some(age) = self.kept {
            write!(f, "; files keep a time of {age} s ago")?;
        }
        write!(f, "{}", if self.pulled { "; pulled without ejecting" } else { "" })
    }
}

impl Display for Visit {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "stick {} is ingested at server {}", letter(self.stick), self.server)?;
        match self.consent {
            Consent::None => {}
            Consent::File => write!(f, " with REPLACE.txt")?,
            Consent::Force => write!(f, " with --force")?,
        }
        let with = |f: &mut Formatter<'_>, is: bool, text: &str| if is { write!(f, "{text}") } else { Ok(()) };
        with(f, self.checksum, " with --checksum")?;
        with(f, self.rehearsed, ", after a dry run")?;
        match self.disturbed {
            Disturbed::Not => Ok(()),
            Disturbed::Late { instant, dataset, path: number } => {
                write!(f, "; a program saves {}/{} at {instant}/1000 of it", DATASETS[dataset], path(number))
            }
            Disturbed::Killed { instant } => write!(f, "; killed at {instant}/1000 of it"),
            Disturbed::Pulled { instant } => write!(f, "; the stick is pulled at {instant}/1000 of it"),
            Disturbed::Unflushed { instant } => {
                write!(f, "; what is written after {instant}/1000 of it never reaches the stick")
            }
        }
    }
}

impl Display for Step {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Step::Edit(edit) => edit.fmt(f),
            Step::Ingest(visit) => visit.fmt(f),
            Step::Clone { stick } => write!(f, "stick {} is cloned (dd)", letter(*stick)),
            Step::TakeImage { stick } => write!(f, "an image of stick {} is taken", letter(*stick)),
            Step::WriteBack { stick } => write!(f, "the image of stick {0} is written back to {0}", letter(*stick)),
            Step::Manifest { stick, torn } => {
                write!(f, "stick {}'s manifest is {}", letter(*stick), if *torn { "cut short" } else { "deleted" })
            }
            Step::WipeRole { stick } => write!(f, "stick {} loses its role file", letter(*stick)),
            Step::MakeRole { stick } => write!(f, "stick {} gets its role file again", letter(*stick)),
            Step::Reformat { stick } => write!(f, "stick {} is formatted and labelled anew", letter(*stick)),
            Step::Dropping { at, dataset, which } => {
                write!(f, "{} appears on {at}", DROPPINGS[which % DROPPINGS.len()])?;
                if *dataset < 2 { write!(f, " in {}", DATASETS[*dataset]) } else { write!(f, " in the root") }
            }
            Step::UndoPut { server } => write!(f, "server {server}: undo put, the latest that changed the server"),
            Step::Acknowledge { server } => write!(f, "server {server}: undo acknowledge all"),
            Step::Export { server, renamed } => {
                write!(f, "server {server}: dist-export")?;
                renamed.map_or(Ok(()), |number| write!(f, ", while {} is renamed", path(number)))
            }
            Step::RotDist { dataset, path: number } => {
                write!(f, "{}/{} rots on the DIST stick", DATASETS[*dataset], path(*number))
            }
            Step::EditDist { dataset, path: number } => {
                write!(f, "{}/{} is overwritten on the DIST stick", DATASETS[*dataset], path(*number))
            }
            Step::Sync { checksum } => write!(f, "dist-sync{}", if *checksum { " --checksum" } else { "" }),
        }
    }
}
