//! Whether any process has a file open (proc(5)): a log that somebody still writes must not be compressed.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;

use super::entry::Entry;

/// Whether a process other than this one has it open. A process that can't be looked at counts as having it open, but
/// for the first: that one writes no logs, and a container's may be out of reach even for root.
pub fn is_open(entry: &Entry) -> bool {
    let own = std::process::id().to_string();
    let Ok(processes) = fs::read_dir("/proc") else { return true };
    processes
        .flatten()
        .filter_map(|process| process.file_name().into_string().ok())
        .any(|number| number.bytes().all(|c| c.is_ascii_digit()) && number != own && has_open(&number, entry))
}

/// A process that is gone meanwhile has nothing open.
fn has_open(number: &str, entry: &Entry) -> bool {
    let refused = |error: io::Error| number != "1" && error.kind() == io::ErrorKind::PermissionDenied;
    let files = match fs::read_dir(format!("/proc/{number}/fd")) {
        Ok(files) => files,
        Err(error) => return refused(error),
    };
    files.flatten().any(|file| match fs::metadata(file.path()) {
        Ok(file) => (file.dev(), file.ino()) == (entry.dev, entry.ino),
        Err(error) => refused(error),
    })
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::super::dir::Dir;
    use super::*;

    #[test]
    fn another_process_has_it_open_until_it_ends() {
        let dir = tempfile::tempdir().unwrap();
        let file = fs::File::create(dir.path().join("log")).unwrap();
        let entry = Dir::open(dir.path()).unwrap().look(b"log").unwrap().unwrap();
        assert!(!is_open(&entry), "this process does not count");
        let mut other = Command::new("sleep").arg("60").stdout(Stdio::from(file)).spawn().unwrap();
        assert!(is_open(&entry));
        other.kill().unwrap();
        other.wait().unwrap();
        assert!(!is_open(&entry));
    }
}
