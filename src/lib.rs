//! `toolmaster`: one binary, many names (SPEC 1). This file turns a name and its arguments into a command, gives the
//! command its settings, clock and journal, and prints the one error.

pub mod clock;
pub mod cmd;
pub mod database;
pub mod dataset;
pub mod error;
pub mod exchange;
pub mod mirror;
pub mod os;
pub mod report;
pub mod settings;
pub mod snapshot;
pub mod stick;
pub mod text;
pub mod tree;

use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use argh::FromArgs;
use log::error;

use clock::Clock;
use cmd::Env;
use error::{EXIT_CODES, Error, Result};
use os::{journal, signal};
use settings::Settings;

/// The names under which the binary is called on the Pi (without `.sh` or `.py`), and what `toolmaster …` each is.
pub const NAMES: [(&str, &str); 7] = [
    ("tool-ingest-sync", "ingest"),
    ("tool-dist-export", "dist-export"),
    ("tool-dist-sync", "dist-sync"),
    ("tool-backup-export", "backup"),
    ("tool-snapshot", "snapshot"),
    ("mirrorctl", "mirror"),
    ("mirror_compare", "mirror-compare"),
];

/// What a Raspberry Pi needs to be a factory-floor appliance: sticks in and out, snapshots, backups, a mirror.
#[derive(FromArgs, Debug)]
struct Toolmaster {
    #[argh(subcommand)]
    command: Command,
}

#[derive(FromArgs, Debug)]
#[argh(subcommand)]
enum Command {
    Ingest(cmd::ingest::Args),
    DistExport(cmd::dist_export::Args),
    DistSync(cmd::dist_sync::Args),
    Backup(cmd::backup::Args),
    Snapshot(cmd::snapshot::Args),
    Restore(cmd::restore::Args),
    Recover(cmd::recover::Args),
    ExportIdentity(cmd::identity::Export),
    ImportIdentity(cmd::identity::Import),
    Stick(cmd::stick::Args),
    Clock(cmd::clock::Args),
    Led(cmd::led::Args),
    Log(cmd::log::Args),
    Notify(cmd::notify::Args),
    Undo(cmd::undo::Args),
    RestoreDrill(cmd::restore_drill::Args),
    Provision(cmd::provision::Args),
    Site(cmd::site::Args),
    Mirror(cmd::mirror::Args),
    MirrorCompare(cmd::mirror_compare::Args),
    Status(cmd::status::Args),
    Watch(cmd::watch::Args),
    Wear(cmd::wear::Args),
}

/// Runs the command that the process was called as.
pub fn main() -> ExitCode {
    signal::listen();
    let mut args = std::env::args_os();
    let called = args.next().unwrap_or_default();
    let code = match understand(&called, args) {
        Ok(Understood::Run(command)) => return ExitCode::from(run(&command)),
        Ok(Understood::Print(text)) => {
            let _ = writeln!(std::io::stdout(), "{}", text.trim_end());
            0
        }
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "{error}");
            error.exit_code()
        }
    };
    ExitCode::from(code)
}

enum Understood {
    Run(Command),
    Print(String),
}

/// From the name and the arguments to a command, or to a text to print.
fn understand(called: &OsString, args: impl Iterator<Item = OsString>) -> Result<Understood> {
    let name = Path::new(called).file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let alias = NAMES.iter().find(|(alias, _)| *alias == name);
    let mut words: Vec<String> = alias.map(|(_, command)| (*command).to_owned()).into_iter().collect();
    let mut plain = false;
    for arg in args {
        let arg = arg.into_string().map_err(|arg| {
            Error::Usage(format!("the argument {} is not UTF-8", text::Shown(arg.as_encoded_bytes())))
        })?;
        match arg.as_str() {
            // From here on everything is a word, also for argh.
            "--" if !plain => {
                plain = true;
                words.push("--".to_owned());
            }
            "--version" if !plain => {
                return Ok(Understood::Print(format!("toolmaster {}", env!("CARGO_PKG_VERSION"))));
            }
            "-h" if !plain => words.push("--help".to_owned()),
            // argh takes an option's value as a word of its own.
            option if !plain && option.starts_with("--") => match option.split_once('=') {
                Some((option, value)) => words.extend([option.to_owned(), value.to_owned()]),
                None => words.push(option.to_owned()),
            },
            word => words.push(word.to_owned()),
        }
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match Toolmaster::from_args(&["toolmaster"], &words) {
        Ok(Toolmaster { command }) => Ok(Understood::Run(command)),
        Err(exit) if exit.status.is_ok() => Ok(Understood::Print(format!("{}\n{EXIT_CODES}", exit.output.trim_end()))),
        Err(exit) => Err(Error::Usage(exit.output.split_whitespace().collect::<Vec<_>>().join(" "))),
    }
}

/// Runs a command; its error is the last line, whatever else was said.
fn run(command: &Command) -> u8 {
    let clock = Clock::read();
    let units = match command {
        Command::Status(_) => cmd::status::settings_of_units(),
        _ => Ok(Vec::new()),
    };
    let of_units = |name: &str, units: &[(String, String)]| {
        units.iter().find(|(other, _)| other == name).map(|(_, value)| value.clone())
    };
    let settings =
        units.and_then(|units| Settings::read(|name| std::env::var(name).ok().or_else(|| of_units(name, &units))));
    let settings = match settings {
        Ok(settings) => settings,
        Err(error) => {
            journal::start("toolmaster", clock, None);
            error!("{error}");
            return error.exit_code();
        }
    };
    let (name, log_file) = match command {
        Command::Ingest(args) => ("tool-ingest-sync", Some("usb_ingest.log").filter(|_| !args.dry_run)),
        Command::DistExport(args) => ("tool-dist-export", Some("usb_dist_export.log").filter(|_| !args.dry_run)),
        Command::DistSync(args) => ("tool-dist-sync", Some("usb_dist_sync.log").filter(|_| !args.dry_run)),
        Command::Backup(args) => ("tool-backup-export", Some("usb_backup.log").filter(|_| !args.dry_run)),
        Command::Snapshot(args) => ("tool-snapshot", Some("snapshot.log").filter(|_| !args.dry_run)),
        Command::Restore(args) => ("toolmaster", Some("snapshot.log").filter(|_| !args.looks_only())),
        Command::Recover(_) => ("tool-recover", Some("usb_backup.log")),
        Command::Stick(_)
        | Command::Clock(_)
        | Command::ExportIdentity(_)
        | Command::ImportIdentity(_)
        | Command::Led(_)
        | Command::Log(_)
        | Command::Notify(_)
        | Command::Provision(_)
        | Command::Site(_)
        | Command::Status(_)
        | Command::Watch(_)
        | Command::Wear(_) => ("toolmaster", None),
        Command::Undo(args) => ("toolmaster", Some("usb_ingest.log").filter(|_| !args.looks_only())),
        Command::RestoreDrill(_) => ("tool-restore-drill", Some("snapshot.log")),
        Command::Mirror(_) => ("mirrorctl", None),
        Command::MirrorCompare(_) => ("mirror_compare", None),
    };
    let log_file = log_file.map(|file| settings.log_dir.join(file));
    journal::start(name, clock, log_file.as_deref().map(|path| (path, settings.log_max_bytes)));
    let env = Env { settings, clock };
    let result = match command {
        Command::Ingest(args) => cmd::ingest::run(args, &env),
        Command::DistExport(args) => cmd::dist_export::run(args, &env),
        Command::DistSync(args) => cmd::dist_sync::run(args, &env),
        Command::Backup(args) => cmd::backup::run(args, &env),
        Command::Snapshot(args) => cmd::snapshot::run(args, &env),
        Command::Restore(args) => cmd::restore::run(args, &env),
        Command::Recover(args) => cmd::recover::run(args, &env),
        Command::ExportIdentity(args) => cmd::identity::export(args, &env),
        Command::ImportIdentity(args) => cmd::identity::import(args, &env),
        Command::Stick(args) => cmd::stick::run(args, &env),
        Command::Clock(args) => cmd::clock::run(args, &env),
        Command::Led(args) => cmd::led::run(args, &env),
        Command::Log(args) => cmd::log::run(args),
        Command::Notify(args) => cmd::notify::run(args, &env),
        Command::Undo(args) => cmd::undo::run(args, &env),
        Command::RestoreDrill(args) => cmd::restore_drill::run(args, &env),
        Command::Provision(args) => cmd::provision::run(args, &env),
        Command::Site(args) => cmd::site::run(args),
        Command::Mirror(args) => cmd::mirror::run(args, &env),
        Command::MirrorCompare(args) => cmd::mirror_compare::run(args, &env),
        Command::Status(args) => cmd::status::run(args, &env),
        Command::Watch(args) => cmd::watch::run(args, &env),
        Command::Wear(args) => cmd::wear::run(args, &env),
    };
    match result {
        Ok(()) => 0,
        Err(error) => {
            error!("{error}");
            error.exit_code()
        }
    }
}
