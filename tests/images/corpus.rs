//! The prober's corpus for the tests that use it: `*.img.zst` in this folder.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The folder of the images.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/images")
}

/// The names of all images, sorted, without `.img.zst`.
pub fn names() -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(folder())
        .expect("tests/images")
        .filter_map(|entry| {
            entry.unwrap().file_name().into_string().unwrap().strip_suffix(".img.zst").map(str::to_owned)
        })
        .collect();
    names.sort();
    assert!(names.len() > 100, "the corpus is incomplete: run tests/images/make-images.sh");
    names
}

/// Runs `zstd -d` on an image with further arguments.
pub fn zstd(name: &str, args: &[&str]) -> Output {
    let image = folder().join(format!("{name}.img.zst"));
    let output = Command::new("zstd")
        .args(["-q", "-d"])
        .args(args)
        .arg(image)
        .output()
        .expect("the program zstd (apt install zstd)");
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

/// Whether to write down what is, in place of comparing with it.
pub fn blessing() -> bool {
    std::env::var_os("PROBE_BLESS").is_some()
}
