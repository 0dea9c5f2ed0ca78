//! Reads the mirror's configuration for the commands that need it.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

use crate::error::{Error, Result};
use crate::settings::mirror::{MAX, Mirror};

/// The configuration in a file.
///
/// # Errors
/// `Config`.
pub fn read(path: &Path) -> Result<Mirror> {
    let shown = path.display().to_string();
    let wrong = |why: String| Error::Config {
        why,
        next: "config/mirrorctl-config.sample.json から作り、パスと権限を確認する",
    };
    let mut text = Vec::new();
    let most = u64::try_from(MAX).unwrap_or(u64::MAX);
    match File::open(path).and_then(|file| file.take(most.saturating_add(1)).read_to_end(&mut text)) {
        Ok(count) if count > MAX => Err(wrong(format!("設定ファイルが大きすぎます: {shown}"))),
        Ok(_) => Mirror::parse(&text, &shown),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            Err(wrong(format!("設定ファイルが見つかりません: {shown}")))
        }
        Err(error) => Err(wrong(format!("設定ファイルを読めません: {shown}: {error}"))),
    }
}
