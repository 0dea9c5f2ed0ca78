//! What lies beside an image (`image/beside.sh`, `image/sbom.sh`, `image/bmap.pl`) and who checks it (`scripts/image-verify`), on a
//! small disk with the three partitions of the real one, made without mounting.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic, its helpers too")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

const MIB: u64 = 1024 * 1024;
/// Where the partitions begin, in MiB; the second is the system's.
const STARTS: [u64; 3] = [8, 44, 60];
const DISK_MIB: u64 = 72;

/// A disk image, what `make_beside` made for it, and what both were made from.
struct Release(TempDir);

fn bash(script: &str) -> (bool, String) {
    let script = format!("set -euo pipefail\nexport PATH=$PATH:/usr/sbin:/sbin\n{script}");
    let output = Command::new("bash")
        .args(["-c", &script, "scripts/image"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    (
        output.status.success(),
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr),
    )
}

fn done(script: &str) -> String {
    let (ok, said) = bash(script);
    assert!(ok, "{script}\n{said}");
    said
}

impl Release {
    fn new() -> Self {
        let release = Self(TempDir::new().unwrap());
        let packages = |names: &[&str]| -> String {
            names
                .iter()
                .map(|name| {
                    format!("Package: {name}\nStatus: install ok installed\nArchitecture: all\nVersion: 1:2.0+b1\n\n")
                })
                .collect()
        };
        let status = release.path("root/var/lib/dpkg");
        fs::create_dir_all(&status).unwrap();
        fs::write(status.join("status"), packages(&["one", "two", "toolmaster"])).unwrap();
        let layer = release.path("layer/var/lib/dpkg");
        fs::create_dir_all(&layer).unwrap();
        fs::write(layer.join("status"), packages(&["one", "three"])).unwrap();
        done(&release.script(
            "mkdir -p $OUT $CONTAINER archive root/usr/share/toolmaster/container
            echo sha256:00 >$CONTAINER/postgres.id
            tar -C layer -cf archive/layer.tar . && tar -C archive -cf postgres.tar .
            zstd -q postgres.tar -o $CONTAINER/postgres.tar.zst
            cp $CONTAINER/postgres.tar.zst root/usr/share/toolmaster/container/
            tar -C root -cf root.tar .
            echo deb >toolmaster.deb
            truncate -s 36M boot && mkfs.vfat -F 32 -s 1 boot >/dev/null && echo text >config.txt && mcopy -i boot config.txt ::/
            truncate -s 16M system && mke2fs -q -t ext4 -b 4096 -d root system && add_zeros system
            truncate -s 4M data && mke2fs -q -t ext4 -b 4096 data
            disk=$OUT/toolmaster-virt.img
            truncate -s 72M $disk
            printf 'label: gpt\nstart=8MiB,size=36MiB\nstart=44MiB,size=16MiB\nstart=60MiB,size=4MiB\n' | sfdisk --quiet $disk
            dd if=boot of=$disk bs=1M seek=8 conv=notrunc,sparse status=none
            dd if=system of=$disk bs=1M seek=44 conv=notrunc,sparse status=none
            dd if=data of=$disk bs=1M seek=60 conv=notrunc,sparse status=none
            cd $PROJECT && make_beside",
        ));
        release
    }

    /// Steps in the release's directory, with the build's functions; the programs are this machine's instead of the locked tools.
    fn script(&self, steps: &str) -> String {
        format!(
            "SITE={} PROJECT=$PWD
            . scripts/lib.sh; . image/pins.env; . image/beside.sh; . image/sbom.sh
            tool() {{ \"$@\"; }}
            # A file whose blocks are all there and hold zeros, as mke2fs leaves it that takes files from a tar; from a folder it makes holes.
            add_zeros() {{
              head -c 1M /dev/zero | tr '\\0' x >zeros
              debugfs -w -R 'write zeros zeros' \"$1\" >/dev/null 2>&1
              for block in $(debugfs -R 'blocks zeros' \"$1\" 2>/dev/null); do
                dd if=/dev/zero of=\"$1\" bs=4096 count=1 seek=$block conv=notrunc status=none
              done
            }}
            OUT=$SITE/out TARGET=virt URL='' WORK=$SITE ROOT=$SITE/root.tar CONTAINER=$SITE/container DEB=$SITE/toolmaster.deb LOCK=image/lock
            cd $SITE
            {steps}",
            self.0.path().display()
        )
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn file(&self, ending: &str) -> PathBuf {
        self.path("out").join(format!("toolmaster-virt.{ending}"))
    }

    fn verify(&self) -> (bool, String) {
        bash(&format!("scripts/image-verify {}", self.path("out").display()))
    }

    /// Refused with one line that has these words, after the sums were made to fit, so that they are not what refuses.
    fn refused(&self, words: &[&str]) {
        done(&format!(
            "cd {} && sed 's/.*  //' toolmaster-virt.SHA256SUMS | xargs sha256sum >new && mv new toolmaster-virt.SHA256SUMS",
            self.path("out").display()
        ));
        let (ok, said) = self.verify();
        assert!(!ok, "{said}");
        let line = said.lines().last().unwrap_or_default();
        for word in words {
            assert!(line.contains(word), "no {word:?} in: {said}");
        }
    }

    fn map(&self, mode: &str) -> (bool, String) {
        bash(&format!("image/bmap.pl {mode} {} {}", self.file("img").display(), self.file("img.bmap").display()))
    }
}

fn alter(file: &Path, at: u64) {
    let mut bytes = fs::read(file).unwrap();
    bytes[usize::try_from(at).unwrap()] ^= 1;
    fs::write(file, bytes).unwrap();
}

fn replace(file: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(file).unwrap();
    assert!(text.contains(from), "no {from} in {}", file.display());
    fs::write(file, text.replacen(from, to, 1)).unwrap();
}

#[test]
fn a_release_is_whole_and_what_was_changed_in_it_is_named() {
    let release = Release::new();
    let (ok, said) = release.verify();
    assert!(ok, "{said}");
    assert!(
        said.contains("3 in the image and in the list, the same")
            && said.contains("2 in the image and in the list, the same"),
        "{said}"
    );

    let kept = fs::read(release.file("img.bmap")).unwrap();
    alter(&release.file("img.bmap"), 200);
    let (ok, said) = release.verify();
    assert!(!ok && said.contains("toolmaster-virt.img.bmap is not the file that"), "{said}");
    release.refused(&["toolmaster-virt.img.bmap is of another image"]);
    fs::write(release.file("img.bmap"), kept).unwrap();

    let kept = fs::read(release.file("spdx.json")).unwrap();
    replace(&release.file("spdx.json"), "\"name\": \"two\"", "\"name\": \"twofold\"");
    release.refused(&[
        "differ",
        "system two 1:2.0+b1 all (only in the image)",
        "system twofold 1:2.0+b1 all (only in the list)",
    ]);
    fs::write(release.file("spdx.json"), &kept).unwrap();
    replace(&release.file("spdx.json"), "\"name\": \"three\"", "\"name\": \"four\"");
    release.refused(&["differ", "container"]);
    fs::write(release.file("spdx.json"), &kept).unwrap();
    replace(&release.file("spdx.json"), "\"name\": \"rustix\"", "\"name\": \"rustier\"");
    release.refused(&["differ", "crate rustix"]);
    // Less and more: a package that the list does not have, and one that only the list has.
    done(&format!(
        "cd {} && jq 'del(.packages[] | select(.name == \"two\"))' toolmaster-virt.spdx.json >new && mv new toolmaster-virt.spdx.json",
        release.path("out").display()
    ));
    release.refused(&["differ", "system two"]);
    fs::write(release.file("spdx.json"), &kept).unwrap();
    done(&format!(
        "cd {} && jq '(.packages[] | select(.name == \"two\")) as $p | .packages += [$p + {{ name: \"more\" }}]' toolmaster-virt.spdx.json >new && mv new toolmaster-virt.spdx.json",
        release.path("out").display()
    ));
    release.refused(&["differ", "system more"]);
    fs::write(release.file("spdx.json"), &kept).unwrap();

    let manifest = release.file("rpi-imager-manifest");
    let kept = fs::read(&manifest).unwrap();
    for (from, to, word) in [
        ("\"init_format\": \"cloudinit\"", "\"init_format\": \"none\"", "init_format"),
        ("\"icon\": \"\"", "\"icon\": 1", "icon"),
        ("\"extract_size\": 75497472", "\"extract_size\": 75496960", "another size inside"),
    ] {
        replace(&manifest, from, to);
        release.refused(&[word, " -> "]);
        fs::write(&manifest, &kept).unwrap();
    }
    done(&format!(
        "cd {} && sed 's/.*  //' toolmaster-virt.SHA256SUMS | xargs sha256sum >new && mv new toolmaster-virt.SHA256SUMS",
        release.path("out").display()
    ));
    assert!(release.verify().0);
}

#[test]
fn the_block_map_has_what_is_in_use_and_nothing_goes_by_it() {
    let release = Release::new();
    assert_eq!(release.map("--check"), (true, String::new()));

    // What a writer does that goes by the map, on a disk full of old bytes.
    let map = fs::read_to_string(release.file("img.bmap")).unwrap();
    let image = fs::read(release.file("img")).unwrap();
    let mut disk = vec![0xff; image.len()];
    let mut skipped = image.len();
    for line in map.lines().filter(|line| line.contains("<Range")) {
        let numbers = line.split(['>', '<']).nth(2).unwrap().trim();
        let (first, last) = numbers.split_once('-').unwrap_or((numbers, numbers));
        let range = first.parse::<usize>().unwrap() * 4096..(last.parse::<usize>().unwrap() + 1) * 4096;
        skipped -= range.len();
        disk[range.clone()].copy_from_slice(&image[range]);
    }
    assert!(skipped as u64 > 30 * MIB, "{skipped} bytes are left out");
    for (number, length) in [(1, 16), (2, 4)] {
        let start = (STARTS[number] * MIB) as usize;
        let file = release.path("partition");
        fs::write(&file, &disk[start..start + (length * MIB) as usize]).unwrap();
        done(&format!("e2fsck -fn {} 2>&1", file.display()));
        if number == 1 {
            let zeros = release.path("zeros-read");
            done(&format!("debugfs -R 'dump /zeros {}' {} 2>&1", zeros.display(), file.display()));
            assert_eq!(fs::read(zeros).unwrap(), vec![0; MIB as usize], "a file's zeros were left out");
        }
    }
    fs::write(release.path("partition"), &disk[(STARTS[0] * MIB) as usize..(STARTS[1] * MIB) as usize]).unwrap();
    done(&format!(
        "fsck.vfat -n {0} && mtype -i {0} ::/config.txt | grep -qx text",
        release.path("partition").display()
    ));

    for (at, word) in [(STARTS[1] * MIB + 1024, "differs from"), ((DISK_MIB - 10) * MIB, "that the map leaves out")] {
        alter(&release.file("img"), at);
        let (ok, said) = release.map("--check");
        assert!(!ok && said.contains(word), "{said}");
        alter(&release.file("img"), at);
    }
    replace(&release.file("img.bmap"), "<BlockSize> 4096", "<BlockSize> 8192");
    assert!(release.map("--check").1.contains("its own checksum differs"));
}
