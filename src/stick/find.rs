//! Which device a stick is, where none was named.

use log::info;

use super::probe::probe;
use super::role::Role;
use crate::error::{Error, Result};
use crate::os::block;
use crate::settings::Settings;

/// The one device that carries a role's label, when none was named.
///
/// # Errors
/// `NoSource` if there is none, `Usage` if there are several.
pub fn find(role: Role, settings: &Settings) -> Result<std::path::PathBuf> {
    let label = role.label(&settings.labels);
    let has_label = |path: &std::path::PathBuf| {
        let Ok(file) = std::fs::File::open(path) else {
            return false;
        };
        probe(&mut &file).is_ok_and(|superblock| superblock.label == label)
    };
    let found: Vec<_> = block::list().into_iter().filter(has_label).collect();
    match &found[..] {
        [device] => {
            info!("found {label} on {}", device.display());
            Ok(device.clone())
        }
        [] => {
            Err(Error::NoSource { why: format!("no stick with the label {label} is plugged in"), next: "plug it in" })
        }
        several => {
            let names: Vec<_> = several.iter().map(|device| device.display().to_string()).collect();
            Err(Error::Usage(format!(
                "several sticks with the label {label}: name one with --device ({})",
                names.join(", ")
            )))
        }
    }
}
