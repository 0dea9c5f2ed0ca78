//! `toolmaster stick probe`: what is on a device or in an image file.

use std::fs::File;
use std::path::{Path, PathBuf};

use argh::FromArgs;

use crate::error::{Error, Result};
use crate::stick::probe::{probe, to_json, to_text};

/// Show what filesystem a device or an image file holds, without mounting it.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "probe")]
pub struct Args {
    /// device or image file
    #[argh(positional)]
    source: PathBuf,
    /// print JSON
    #[argh(switch)]
    json: bool,
}

/// Carries it out.
///
/// # Errors
/// `Refused` if the source is no stick, `Usage` if it is not there, `Io`.
pub fn run(args: &Args) -> Result<()> {
    let Args { source, json } = args;
    let mut file = open(source)?;
    let result = probe(&mut file);
    let text = if *json { to_json(&result) } else { to_text(&result) };
    super::print(text.trim_end())?;
    match result {
        Ok(_) => Ok(()),
        Err(error) => Err(Error::Refused {
            why: format!("{}: {error}", source.display()),
            next: "use a stick with ext4, FAT32 or exFAT".to_owned(),
        }),
    }
}

fn open(source: &Path) -> Result<File> {
    use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
    let kind = match std::fs::metadata(source) {
        Ok(metadata) => metadata.file_type(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(Error::Usage(format!("there is no {}", source.display())));
        }
        Err(error) => return Err(Error::io("look at", source, error)),
    };
    if !kind.is_file() && !kind.is_block_device() {
        return Err(Error::Usage(format!("{} is neither a device nor a file", source.display())));
    }
    let nonblock = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or(0);
    let mut options = std::fs::OpenOptions::new();
    options.read(true).custom_flags(nonblock).open(source).map_err(|error| Error::io("open", source, error))
}
