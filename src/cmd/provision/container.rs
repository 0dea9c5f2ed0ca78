//! The database's container image: it comes with the system as an archive, is taken into Docker's store once, and is the one
//! that came (by its id, since an image by digest can't be run after a load without a network).

use std::path::Path;
use std::time::Duration;

use log::info;

use crate::error::{Error, Result};
use crate::os::process::{Output, Program};

/// The name that config/docker-compose.yml calls it by.
pub const IMAGE: &str = "postgres:17";
/// An image's id: `sha256:` and 64 digits.
const MAX_ID: u64 = 128;
/// How long Docker may take to answer a question.
pub const QUESTION: Duration = Duration::from_secs(60);
/// Unpacking it takes minutes on a slow disk.
const LOAD: Duration = Duration::from_secs(900);
/// What to do when Docker fails.
pub const NEXT: &str = "look at \"systemctl status docker\", then restart raspi-server.service";

/// Loads it unless it is there. `share` holds `container/postgres.tar.zst` and its id in `container/postgres.id`; where the
/// package came without them, an image of that name must be in Docker's store.
///
/// # Errors
/// `NoSource` if there is neither, `Failed`, `Io`, `Interrupted`.
pub fn load(share: &Path) -> Result<()> {
    let dir = share.join("container");
    let archive = dir.join("postgres.tar.zst");
    let there = id_in_store()?;
    if !archive.exists() {
        return there.map(|id| info!("{IMAGE} is {id}")).ok_or_else(|| Error::NoSource {
            why: format!("{IMAGE} is neither in Docker's store nor at {}", archive.display()),
            next: "bring it as an archive and run: sudo docker load -i FILE",
        });
    }
    let expected = read_id(&dir.join("postgres.id"))?;
    if there.as_deref() == Some(&expected) {
        return Ok(());
    }
    info!("taking the database's container image into Docker's store: this is done once and takes a few minutes");
    let input = archive.to_string_lossy();
    Program::new(Path::new("docker"), &["load", "--quiet", "--input", &input], LOAD, NEXT).run()?;
    match id_in_store()? {
        Some(id) if id == expected => {
            info!("{IMAGE} is {id}");
            Ok(())
        }
        other => Err(Error::Failed {
            why: format!(
                "{} gave {IMAGE} the id {}, not {expected}",
                archive.display(),
                other.as_deref().unwrap_or("none")
            ),
            next: "the system's files are damaged: flash the system anew",
        }),
    }
}

/// Which image Docker's store has under the name.
fn id_in_store() -> Result<Option<String>> {
    let arguments = ["image", "inspect", "--format", "{{.Id}}", IMAGE];
    let ended = Program::new(Path::new("docker"), &arguments, QUESTION, NEXT).output(Output::Text(4096)).end()?;
    if ended.status.success() {
        return Ok(Some(String::from_utf8_lossy(ended.text.trim_ascii()).into_owned()));
    }
    // The one answer that means "no"; Docker out of reach is none.
    if ended.words.contains("No such image") {
        return Ok(None);
    }
    Err(Error::Failed { why: format!("docker image inspect failed ({}): {}", ended.status, ended.words), next: NEXT })
}

fn read_id(path: &Path) -> Result<String> {
    use std::io::Read;
    let fail = |error| Error::io("read", path, error);
    let mut text = String::new();
    std::fs::File::open(path).map_err(fail)?.take(MAX_ID).read_to_string(&mut text).map_err(fail)?;
    Ok(text.trim().to_owned())
}
