//! The Pi's boot loader lies in an EEPROM with settings of its own. Its `BOOT_ORDER` may leave out the kind of disk that this
//! system is on: started once in another way, the machine does not come back after a power cut. Told of, never changed.

use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::block::{self, Block};
use super::disk::Disk;

/// The settings have 2 KiB at most in the boot loader of today.
const SETTINGS_LIMIT: u64 = 64 * 1024;

/// What the boot loader looks for, and what the system runs from.
#[derive(Debug)]
pub struct Boot {
    order: u32,
    kind: Kind,
    disk: PathBuf,
}

impl Boot {
    /// Looks. None where it can't be known: no Raspberry Pi, not root, or the boot loader's own default holds.
    pub fn look() -> Option<Boot> {
        let order = boot_order(&settings(Path::new("/sys"))?)?;
        let root = Block::open(&block::node(std::fs::metadata("/").ok()?.dev())?).ok()?;
        let disk = Disk::of(&Block::open(&root.whole).ok()?).ok()?;
        Boot::of(order, root.whole, disk.usb)
    }

    /// That order, and a disk. None for a disk that no Pi boots from.
    pub(crate) fn of(order: u32, disk: PathBuf, usb: bool) -> Option<Boot> {
        Some(Boot { order, kind: Kind::of(&disk, usb)?, disk })
    }

    /// What is wrong, and what to do.
    pub fn complaint(&self) -> Option<String> {
        (!finds(self.order, self.kind)).then(|| {
            format!(
                "the boot loader's BOOT_ORDER=0x{:x} does not look for {}, and this system is on one ({}): it may not start again -> \
                 sudo rpi-eeprom-config --edit, and set BOOT_ORDER=0x{:x}",
                self.order,
                self.kind.name(),
                self.disk.display(),
                self.kind.advised()
            )
        })
    }

    /// How it is, where all is well: `BOOT_ORDER=0xf416, /dev/nvme0n1`.
    pub fn shown(&self) -> String {
        format!("BOOT_ORDER=0x{:x}, {}", self.order, self.disk.display())
    }
}

/// A copy of the boot loader's settings, which the firmware hands over in memory: the device tree's alias says which of the
/// kernel's memories it is.
fn settings(sys: &Path) -> Option<String> {
    let tree = sys.join("firmware/devicetree/base");
    let alias = std::fs::read_to_string(tree.join("aliases/blconfig")).ok()?;
    let node = tree.join(alias.trim_end_matches('\0').trim_start_matches('/')).canonicalize().ok()?;
    let memories = std::fs::read_dir(sys.join("bus/nvmem/devices")).ok()?.flatten();
    let memory =
        memories.map(|entry| entry.path()).find(|dir| dir.join("of_node").canonicalize().is_ok_and(|of| of == node))?;
    let mut bytes = Vec::new();
    std::fs::File::open(memory.join("nvmem")).ok()?.take(SETTINGS_LIMIT).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// A kind of disk that a Pi 5 boots from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Sd,
    Usb,
    Nvme,
}

impl Kind {
    fn of(node: &Path, usb: bool) -> Option<Kind> {
        let name = node.file_name()?.to_str()?;
        match name {
            _ if name.starts_with("nvme") => Some(Kind::Nvme),
            _ if name.starts_with("mmcblk") => Some(Kind::Sd),
            _ => usb.then_some(Kind::Usb),
        }
    }

    /// The digit of `BOOT_ORDER`.
    fn digit(self) -> u32 {
        match self {
            Kind::Sd => 0x1,
            Kind::Usb => 0x4,
            Kind::Nvme => 0x6,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Kind::Sd => "SD cards",
            Kind::Usb => "USB disks",
            Kind::Nvme => "NVMe disks",
        }
    }

    /// This kind first, then the others, then from the beginning.
    fn advised(self) -> u32 {
        match self {
            Kind::Sd => 0xf461,
            Kind::Usb => 0xf164,
            Kind::Nvme => 0xf416,
        }
    }
}

/// `BOOT_ORDER` of the settings, the last one counts. None where it is not set (the boot loader's own default holds) or where it
/// depends on a section whose condition only the boot loader knows.
fn boot_order(settings: &str) -> Option<u32> {
    let (mut order, mut holds) = (None, Some(true));
    for line in settings.lines().map(|line| line.trim_matches(|c: char| c.is_whitespace() || c == '\0')) {
        if line.starts_with('[') {
            holds = match line {
                "[all]" | "[pi5]" => Some(true),
                "[none]" | "[pi4]" | "[pi400]" => Some(false),
                _ => None,
            };
        } else if let Some(value) = line.strip_prefix("BOOT_ORDER=") {
            match holds {
                Some(true) => order = Some(number(value.trim())?),
                Some(false) => {}
                None => return None,
            }
        }
    }
    order
}

fn number(text: &str) -> Option<u32> {
    match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

/// Whether the boot loader comes to that kind of disk: it takes the digits from the right, up to the one that begins anew (f)
/// or stops (e).
fn finds(order: u32, kind: Kind) -> bool {
    (0..8)
        .map(|place| (order >> (4 * place)) & 0xf)
        .take_while(|digit| !matches!(digit, 0xe | 0xf))
        .any(|digit| digit == kind.digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders() {
        // The order, and whether it comes to SD, USB, NVMe.
        let table = [
            (0xf416, [true, true, true]),
            (0xf461, [true, true, true]),
            (0xf41, [true, true, false]),
            (0xf1, [true, false, false]),
            (0xf6, [false, false, true]),
            (0x4, [false, true, false]),
            // Begins anew, or stops, before it comes to the last one.
            (0x6f41, [true, true, false]),
            (0x41e6, [false, false, true]),
            (0xf2, [false, false, false]),
            (0x0, [false, false, false]),
            (0xffff_ffff, [false, false, false]),
        ];
        for (order, expected) in table {
            assert_eq!([Kind::Sd, Kind::Usb, Kind::Nvme].map(|kind| finds(order, kind)), expected, "{order:#x}");
        }
        for kind in [Kind::Sd, Kind::Usb, Kind::Nvme] {
            assert_eq!(kind.advised() & 0xf, kind.digit());
        }
    }

    #[test]
    fn settings_of_the_boot_loader() {
        let table = [
            ("[all]\nBOOT_UART=1\nBOOT_ORDER=0xf416\nPOWER_OFF_ON_HALT=0\n", Some(0xf416)),
            ("BOOT_ORDER=0xf41\r\nBOOT_ORDER=0xf14\r\n", Some(0xf14)),
            ("[all]\nBOOT_ORDER=0xf41\n[pi5]\n  BOOT_ORDER=0xf6\n[none]\nBOOT_ORDER=0x1\n", Some(0xf6)),
            ("[all]\nBOOT_UART=1\n", None),
            ("", None),
            ("#BOOT_ORDER=0xf1\n", None),
            ("BOOT_ORDER=0x\n", None),
            ("BOOT_ORDER=0xfffffffff\n", None),
            ("BOOT_ORDER=SD\n", None),
            ("BOOT_ORDER=0xf1\n[0x12345678]\nBOOT_ORDER=0xf4\n", None),
            ("[0x12345678]\nBOOT_UART=1\n[all]\nBOOT_ORDER=0xf4\n", Some(0xf4)),
        ];
        for (settings, expected) in table {
            assert_eq!(boot_order(settings), expected, "{settings}");
        }
    }

    #[test]
    fn disks() {
        let table = [
            ("/dev/nvme0n1", false, Some(Kind::Nvme)),
            ("/dev/mmcblk0", false, Some(Kind::Sd)),
            ("/dev/sda", true, Some(Kind::Usb)),
            ("/dev/sda", false, None),
            ("/dev/vda", false, None),
        ];
        for (node, usb, expected) in table {
            assert_eq!(Kind::of(Path::new(node), usb), expected, "{node}");
        }
    }

    #[test]
    fn what_is_said() {
        let boot = |order| Boot::of(order, PathBuf::from("/dev/nvme0n1"), false).unwrap();
        assert_eq!(boot(0xf461).complaint(), None);
        assert_eq!(boot(0xf461).shown(), "BOOT_ORDER=0xf461, /dev/nvme0n1");
        assert_eq!(
            boot(0xf41).complaint().unwrap(),
            "the boot loader's BOOT_ORDER=0xf41 does not look for NVMe disks, and this system is on one (/dev/nvme0n1): \
             it may not start again -> sudo rpi-eeprom-config --edit, and set BOOT_ORDER=0xf416"
        );
    }

    /// The tree that a Pi 5's kernel shows, with two memories of which one is the settings.
    #[test]
    fn settings_are_found_in_sysfs() {
        let sys = tempfile::tempdir().unwrap();
        let at = |path: &str| sys.path().join(path);
        assert_eq!(settings(sys.path()), None);
        for (node, memory, content) in
            [("nvram@0", "rmem0", "[all]\nBOOT_ORDER=0xf1\0\0"), ("nvram@1", "rmem1", "a key")]
        {
            let of_node = at(&format!("firmware/devicetree/base/reserved-memory/{node}"));
            std::fs::create_dir_all(&of_node).unwrap();
            let dir = at(&format!("bus/nvmem/devices/{memory}"));
            std::fs::create_dir_all(&dir).unwrap();
            std::os::unix::fs::symlink(of_node, dir.join("of_node")).unwrap();
            std::fs::write(dir.join("nvmem"), content).unwrap();
        }
        assert_eq!(settings(sys.path()), None);
        std::fs::create_dir_all(at("firmware/devicetree/base/aliases")).unwrap();
        std::fs::write(at("firmware/devicetree/base/aliases/blconfig"), "/reserved-memory/nvram@0\0").unwrap();
        assert_eq!(boot_order(&settings(sys.path()).unwrap()), Some(0xf1));
        std::fs::write(at("firmware/devicetree/base/aliases/blconfig"), "/reserved-memory/nvram@2\0").unwrap();
        assert_eq!(settings(sys.path()), None);
    }
}
