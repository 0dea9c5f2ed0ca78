//! `toolmaster log`: a line of a site's own script in the journal and on the terminal (SPEC 4), for the shell library.

use argh::FromArgs;
use log::Level;

use crate::error::{Error, Result};

/// Write a line to the journal and the terminal.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "log")]
pub struct Args {
    /// info, warn or error (also notice, warning, err, crit)
    #[argh(positional)]
    level: String,
    /// the message; after "--", so that none of its words is taken for an option
    #[argh(positional)]
    message: Vec<String>,
}

/// Carries it out.
///
/// # Errors
/// `Usage`.
pub fn run(args: &Args) -> Result<()> {
    let level = match args.level.to_ascii_lowercase().as_str() {
        "debug" => Level::Debug,
        "info" | "notice" => Level::Info,
        "warn" | "warning" => Level::Warn,
        "error" | "err" | "crit" => Level::Error,
        _ => return Err(Error::Usage(format!("\"{}\" is no level: it is info, warn or error", args.level))),
    };
    log::log!(level, "{}", args.message.join(" "));
    Ok(())
}
