//! The Pi Zero's configuration over ssh: the system's own `ssh` with its keys, hosts and settings. One login reads the file,
//! and the same login replaces it. What is sent as a command is the same text always; whatever comes from a configuration
//! goes through stdin.

use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::{Error, Result};
use crate::os::process::running::Running;
use crate::os::process::{self, Ended, Input, Output, Program};
use crate::settings::mirror::{Login, Mirror};
use crate::text::Shown;

/// How long a login with all that it does may take.
const LIMIT: Duration = Duration::from_secs(90);
/// No configuration that people write is larger, bytes; and a pipe takes as much at once.
const MAX_FILE: usize = 32 * 1024;
/// What a login shell may say before our text begins.
const MAX_NOISE: u64 = 64 * 1024;
/// The first line of ours on the Pi Zero.
const BEGIN: &str = "mirrorctl";

/// The word for putting back what was there; also a signal does not keep from it.
const UNDO: &str = "undo";

/// Replaces the file and restarts the service, as root.
const CHANGE: &str = include_str!("remote.sh");
/// Shows the file, as root only where it must be.
const READ: &str = r#"IFS= read -r path || exit 1
echo mirrorctl
if [ -r "$path" ]; then cat "$path"; else sudo -n cat "$path"; fi"#;

const NEXT_SSH: &str = "Pi Zero の電源とホスト名/IP、SSH 鍵の配置、known_hosts を確認して、もう一度";
const NEXT_REMOTE: &str = "Pi Zero 側のファイルと権限(sudo、空き容量)を確認して、もう一度";
const NEXT_AGAIN: &str = "もう一度";

/// The Pi Zero and what is changed on it.
pub struct PiZero<'a> {
    login: Login,
    path: &'a str,
    service: &'a str,
}

/// A file before and after.
pub struct Change {
    before: String,
    /// None if it said all that already.
    after: Option<String>,
}

impl Change {
    /// Whether the file was replaced.
    pub fn is_some(&self) -> bool {
        self.after.is_some()
    }
}

/// Why it was not changed, and in which state the Pi Zero is.
pub struct Failure {
    /// The reason.
    pub error: Error,
    /// The state.
    pub left: Left,
}

/// The state in which a failure leaves the Pi Zero.
pub enum Left {
    /// File and service are as before.
    AsItWas,
    /// The file is as before, its service could not be restarted.
    ServiceDown,
    /// The file is changed and could not be put back.
    Changed,
    /// The connection was lost after this was sent.
    Unknown(Change),
}

impl Failure {
    fn before(error: Error) -> Failure {
        Failure { error, left: Left::AsItWas }
    }
}

/// How the new text is made of the old; none if nothing is to change.
pub type Edit<'a> = &'a dyn Fn(&str) -> std::result::Result<Option<String>, String>;

impl<'a> PiZero<'a> {
    /// The one that the configuration names.
    ///
    /// # Errors
    /// `Config` if it names none.
    pub fn new(config: &'a Mirror) -> Result<PiZero<'a>> {
        Ok(PiZero { login: config.login()?, path: &config.config_path, service: &config.pi_zero_service })
    }

    /// Its login, for messages.
    pub fn shown(&self) -> String {
        format!("{}@{}", self.login.user, self.login.host)
    }

    /// The text of its configuration.
    ///
    /// # Errors
    /// `Failed` with the reason, `Config` without ssh.
    pub fn read(&self) -> Result<String> {
        let program = self.ssh(&format!("sh -c {}", quoted(READ)))?;
        let input = format!("{}\n", self.path);
        let most = MAX_FILE + usize::try_from(MAX_NOISE).unwrap_or(MAX_FILE);
        let ended = program.input(Input::text(&input)).output(Output::Text(most)).end();
        let ended = ended.map_err(|error| self.late(error))?;
        let text = String::from_utf8_lossy(&ended.text).into_owned();
        match text.split_once(&format!("{BEGIN}\n")) {
            Some((_, file)) if ended.status.success() => Ok(file.to_owned()),
            begun => Err(self.refused(&ended, begun.is_some())),
        }
    }

    /// Makes a change and restarts the service. If that fails, the Pi Zero undoes it by itself.
    ///
    /// # Errors
    /// Why, and what state it is in.
    pub fn change(&self, edit: Edit<'_>) -> std::result::Result<Change, Failure> {
        self.talk("replace", edit)
    }

    /// Puts back what a change replaced, if it is still there; also after a signal.
    ///
    /// # Errors
    /// Why, and what state it is in.
    pub fn undo(&self, change: &Change) -> std::result::Result<(), Failure> {
        let put_back = |now: &str| match &change.after {
            Some(after) if now == after => Ok(Some(change.before.clone())),
            _ if now == change.before => Ok(None),
            _ => Err("その後に書き換えられています".to_owned()),
        };
        self.talk(UNDO, &put_back).map(drop)
    }

    fn talk(&self, word: &str, edit: Edit<'_>) -> std::result::Result<Change, Failure> {
        let program = self.ssh(&format!("sudo -n sh -c {} {BEGIN}", quoted(CHANGE))).map_err(Failure::before)?;
        let program = if word == UNDO { program.despite_signals() } else { program };
        let mut ssh = BufReader::new(program.start().map_err(Failure::before)?);
        ssh.get_mut().tell(format!("{}\n{}\n", self.path, self.service).as_bytes());
        if !begins(&mut ssh) {
            return Err(Failure::before(self.ended(ssh, false)));
        }
        let before = match line(&mut ssh).as_deref().map(|line| line.split_once(' ').unwrap_or((line, ""))) {
            Some(("file", size)) => file(&mut ssh, size),
            Some((word, _)) => return Err(self.outcome(word, ssh, None)),
            None => return Err(Failure::before(self.ended(ssh, true))),
        };
        let after = before.and_then(|before| edit(&before).map(|after| (before, after)));
        let (before, after) = after.map_err(|why| {
            // It cleans up after itself; that is waited for.
            ssh.get_mut().tell_end();
            let _ = io::copy(&mut ssh, &mut io::sink());
            let why = format!("Pi Zero({})の {}: {why}", self.shown(), self.path);
            Failure::before(Error::Failed { why, next: NEXT_REMOTE })
        })?;
        match &after {
            Some(after) => ssh.get_mut().tell(format!("{word} {}\n{after}", after.len()).as_bytes()),
            None => ssh.get_mut().tell(b"restart\n"),
        }
        ssh.get_mut().tell_end();
        let change = Change { before, after };
        match line(&mut ssh).as_deref() {
            Some("done" | "same") => Ok(change),
            Some(word) => Err(self.outcome(word, ssh, Some(change))),
            None => Err(Failure { error: self.ended(ssh, true), left: Left::Unknown(change) }),
        }
    }

    /// What a last word other than success means.
    fn outcome(&self, word: &str, ssh: BufReader<Running<'_>>, change: Option<Change>) -> Failure {
        let words = ssh.into_inner().end().map(|ended| ended.reason()).unwrap_or_default();
        let (shown, path, service) = (self.shown(), self.path, self.service);
        let failed = |why: String| Error::Failed { why, next: NEXT_REMOTE };
        let not_restarted = || failed(format!("Pi Zero({shown})の {service} を再起動できません: {words}"));
        let (error, left) = match (word, change) {
            ("missing", _) => {
                (failed(format!("Pi Zero({shown})に {path} がありません(またはリンクかフォルダです)")), Left::AsItWas)
            }
            ("busy", _) => {
                let why = format!("Pi Zero({shown})の {path} を別の mirrorctl が変更しています");
                (Error::Busy { why, next: "1 分待って、もう一度" }, Left::AsItWas)
            }
            ("changed", _) => {
                let why = format!("Pi Zero({shown})の {path} が途中で書き換えられました");
                (Error::Busy { why, next: NEXT_AGAIN }, Left::AsItWas)
            }
            ("failed", _) => (failed(format!("Pi Zero({shown})の {path} を変更できません: {words}")), Left::AsItWas),
            ("undone", _) => (not_restarted(), Left::AsItWas),
            ("undone-down" | "down", _) => (not_restarted(), Left::ServiceDown),
            ("stuck", _) => (not_restarted(), Left::Changed),
            (other, change) => {
                let why = format!("Pi Zero({shown})の返事を読めません: {}", Shown(other.as_bytes()));
                (failed(why), change.map_or(Left::AsItWas, Left::Unknown))
            }
        };
        Failure { error, left }
    }

    /// Why the talk came to an end too early.
    fn ended(&self, ssh: BufReader<Running<'_>>, begun: bool) -> Error {
        match ssh.into_inner().end() {
            Ok(ended) => self.refused(&ended, begun),
            Err(error) => self.late(error),
        }
    }

    /// ssh(1): 255 is its own failure, anything else the remote command's.
    fn refused(&self, ended: &Ended, begun: bool) -> Error {
        let (shown, words) = (self.shown(), ended.reason());
        if ended.status.code() == Some(255) {
            return Error::Failed { why: format!("SSH 接続に失敗しました({shown}): {words}"), next: NEXT_SSH };
        }
        let what = if begun { "で失敗しました" } else { "で sudo を使えません" };
        Error::Failed { why: format!("Pi Zero({shown}){what}: {words}"), next: NEXT_REMOTE }
    }

    fn late(&self, error: Error) -> Error {
        match error {
            Error::Failed { why, .. } => Error::Failed {
                why: format!("SSH 接続に失敗しました({}): {why}", self.shown()),
                next: NEXT_SSH,
            },
            error => error,
        }
    }

    fn ssh(&self, command: &str) -> Result<Program<'static>> {
        const OPTIONS: [&str; 5] = [
            "BatchMode=yes",
            "ConnectTimeout=10",
            "ServerAliveInterval=5",
            "ServerAliveCountMax=3",
            "ClearAllForwardings=yes",
        ];
        let ssh: PathBuf = process::find("ssh").ok_or_else(|| Error::Config {
            why: "ssh がありません".to_owned(),
            next: "sudo apt install openssh-client",
        })?;
        let mut arguments = vec!["-T", "-x", "-a"];
        arguments.extend(OPTIONS.iter().flat_map(|option| ["-o", option]));
        arguments.extend(["-l", &self.login.user, "--", &self.login.host, command]);
        Ok(Program::new(Path::new(&ssh), &arguments, LIMIT, NEXT_SSH))
    }
}

/// As one word of a POSIX shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Reads up to our own first line, past what the user's shell may say.
fn begins(ssh: &mut BufReader<Running<'_>>) -> bool {
    let mut noise = ssh.take(MAX_NOISE).lines();
    noise.by_ref().any(|line| line.is_ok_and(|line| line == BEGIN))
}

fn line(ssh: &mut BufReader<Running<'_>>) -> Option<String> {
    let mut line = String::new();
    ssh.take(256).read_line(&mut line).ok()?;
    line.strip_suffix('\n').map(str::to_owned)
}

fn file(ssh: &mut BufReader<Running<'_>>, size: &str) -> std::result::Result<String, String> {
    let size = size.parse::<usize>().ok().filter(|size| *size <= MAX_FILE);
    let mut bytes = vec![0; size.ok_or("大きすぎます")?];
    ssh.read_exact(&mut bytes).map_err(|_| "読み取りが途中で切れました")?;
    String::from_utf8(bytes).map_err(|_| "UTF-8 ではありません".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_texts_that_are_sent_are_one_word_for_any_posix_shell() {
        for script in [READ, CHANGE] {
            assert!(!script.contains('\''));
            let echoed =
                std::process::Command::new("sh").args(["-c", &format!("printf %s {}", quoted(script))]).output();
            assert_eq!(echoed.unwrap().stdout, script.as_bytes());
        }
        assert_eq!(quoted("a'b"), r"'a'\''b'");
    }
}
