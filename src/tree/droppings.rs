//! *Pure.* What systems and programs leave in folders without being asked (SPEC 5): neither compared nor copied nor deleted,
//! and no dataset is filled by it. RUNBOOK lists the same names.
//!
//! A name stands here only if no person would give it to own data, and if it holds nothing that a person made and might
//! miss. So these are none: `FOUND.000`, `LOST.DIR` and `lost+found` (what a check of the disk saved of people's files),
//! autosaved and backup files (`*.tmp`, `*.bak`, `*~`, `*.sv$`, vim's `.*.swp`), `DCIM`, `MISC`.

/// A name, or the beginning and end of names around one `*`; letters count in either case.
#[derive(Clone, Copy, Debug)]
pub struct Dropping {
    /// As people read it.
    pub pattern: &'static str,
    /// What leaves it, and where that is known from.
    pub source: &'static str,
    /// Where the star stands; the length of the pattern if there is none.
    star: usize,
}

const fn of(pattern: &'static str, source: &'static str) -> Dropping {
    let mut star = 0;
    while star < pattern.len() && pattern.as_bytes()[star] != b'*' {
        star += 1;
    }
    Dropping { pattern, source, star }
}

/// All of them, in the order of RUNBOOK.
pub const DROPPINGS: [Dropping; 63] = [
    // Windows
    of("Thumbs.db", "Explorer's thumbnails (Microsoft, IThumbnailCache)"),
    of("Thumbs.db:encryptable", "a stream of it, as a file where there are no streams (github/gitignore, Windows)"),
    of("ehthumbs.db", "Media Center's thumbnails (github/gitignore, Windows)"),
    of("ehthumbs_vista.db", "the same of Vista (github/gitignore, Windows)"),
    of("desktop.ini", "a folder's looks (Microsoft, How to Customize Folders with Desktop.ini)"),
    of("System Volume Information", "restore points and indexes (Microsoft, KB309531)"),
    of("IndexerVolumeGuid", "the search index's mark of the volume, in the directory before"),
    of("WPSettings.dat", "storage settings, in the directory before"),
    of("$RECYCLE.BIN", "the recycle bin since Vista (github/gitignore, Windows)"),
    of("RECYCLER", "the recycle bin of NTFS until XP (Microsoft, KB136517)"),
    of("RECYCLED", "the recycle bin of FAT until XP (Microsoft, KB136517)"),
    of("bootex.log", "the log of a disk check at start (Microsoft, autochk)"),
    // macOS
    of(".DS_Store", "Finder's window (Apple, HT1629)"),
    of("._*", "AppleDouble: resource fork and attributes (RFC 1740)"),
    of(".Spotlight-V100", "the search index (Apple, mdutil(1))"),
    of(".fseventsd", "the log of changes (Apple, File System Events)"),
    of(".TemporaryItems", "files while they are copied (Apple, NSItemReplacementDirectory)"),
    of(".DocumentRevisions-V100", "the store of versions (Apple, NSFileVersion)"),
    of(".Trashes", "the trash of a volume (Apple, FSFindFolder)"),
    of(".VolumeIcon.icns", "a volume's picture (github/gitignore, macOS)"),
    of(".com.apple.timemachine.*", "marks for Time Machine (github/gitignore, macOS)"),
    of(".apdisk", "what a shared volume is used for (github/gitignore, macOS)"),
    of(".LSOverride", "which program opens a file (github/gitignore, macOS)"),
    of(".localized", "a folder's name is shown translated (Apple, File System Programming Guide)"),
    of("__MACOSX", "AppleDouble files of an archive that was unpacked elsewhere (Apple, ditto(1))"),
    of(".smbdelete*", "a file removed while open on a share (Apple, smbfs)"),
    of(".afpDeleted*", "the same by AFP (Apple, afpfs)"),
    // Linux desktops
    of(".Trash", "the trash of a volume (freedesktop.org, Trash specification 1.0)"),
    of(".Trash-*", "the trash of one user (freedesktop.org, Trash specification 1.0)"),
    of(".directory", "a folder's looks (KDE, Dolphin)"),
    of(".sh_thumbnails", "shared thumbnails (freedesktop.org, Thumbnail Managing Standard)"),
    of(".xvpics", "thumbnails (xv, GIMP 1)"),
    of(".goutputstream-*", "a file while it is replaced (GLib, gio/glocalfileoutputstream.c)"),
    of(".fuse_hidden*", "a file removed while open (libfuse, lib/fuse.c: hidden_name)"),
    of(".nfs0000*", "the same on NFS: the inode's number in 16 digits (Linux, fs/nfs/unlink.c)"),
    of(".#*", "a lock (GNU Emacs manual, Interlocking)"),
    // NAS
    of("@eaDir", "indexes and thumbnails (Synology DSM)"),
    of("#recycle", "the recycle bin of a share (Synology DSM)"),
    of("#snapshot", "snapshots shown in a share (Synology DSM)"),
    of("@SynoEAStream", "attributes of files (Synology DSM)"),
    of("@SynoResource", "resource forks of files (Synology DSM)"),
    of(".SynologyWorkingDirectory", "files while they are synchronised (Synology Drive)"),
    of("@Recycle", "the recycle bin of a share (QNAP QTS)"),
    of("@Recently-Snapshot", "snapshots shown in a share (QNAP QTS)"),
    of(".@__thumb", "thumbnails (QNAP QTS)"),
    of(".@__qini", "settings of a share (QNAP QTS)"),
    of(".AppleDouble", "resource forks (Netatalk; github/gitignore, macOS)"),
    of(".AppleDB", "the numbers of files (Netatalk; github/gitignore, macOS)"),
    of(".AppleDesktop", "pictures of files (Netatalk)"),
    of("Network Trash Folder", "the trash of a share (Netatalk)"),
    of(":2eDS_Store", "Finder's window, a dot written as Netatalk 2 does"),
    // cameras and phones
    of("ZbThumbnail.info", "thumbnails (Canon, ZoomBrowser EX)"),
    of("MEMSTICK.IND", "the kind of card (Sony, Memory Stick)"),
    of("MSTK_PRO.IND", "the kind of card (Sony, Memory Stick PRO)"),
    of(".thumbnails", "thumbnails (Android, MediaProvider)"),
    of(".thumbdata*", "thumbnails (Android, MiniThumbFile.java)"),
    of(".database_uuid", "the mark of the thumbnails' database (Android, MediaProvider)"),
    of(".trashed-*", "what was put into the trash (Android, MediaStore: IS_TRASHED)"),
    // office programs and CAD
    of("~$*", "who has a document open (Microsoft Office, KB211632; SolidWorks)"),
    of(".~lock.*#", "who has a document open (LibreOffice, svl/source/misc/lockfilecommon.cxx)"),
    of("*.laccdb", "who has a database open (Microsoft Access)"),
    of("*.dwl", "who has a drawing open (AutoCAD, DWL files)"),
    of("*.dwl2", "the same as XML (AutoCAD, DWL2 files)"),
];

impl Dropping {
    fn is(&self, name: &[u8]) -> bool {
        let (begin, end) = self.pattern.as_bytes().split_at(self.star);
        let Some((_, end)) = end.split_first() else {
            return name.eq_ignore_ascii_case(begin);
        };
        let begins = name.split_at_checked(begin.len()).filter(|(first, _)| first.eq_ignore_ascii_case(begin));
        begins.is_some_and(|(_, rest)| {
            let last = rest.len().checked_sub(end.len()).and_then(|at| rest.get(at..));
            last.is_some_and(|last| last.eq_ignore_ascii_case(end))
        })
    }
}

/// Whether a name is none that a person gave.
pub fn is_dropping(name: &[u8]) -> bool {
    DROPPINGS.iter().any(|dropping| dropping.is(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_systems_and_programs_leave() {
        for name in [
            "Thumbs.db",
            "THUMBS.DB",
            "DESKTOP.INI",
            ".DS_Store",
            "._a.csv",
            "._",
            "~$Werkzeuge.xlsx",
            "~$工具.xlsx",
            ".~lock.工具.ods#",
            ".~LOCK.A.ODS#",
            "System Volume Information",
            "$Recycle.Bin",
            ".Trash-1000",
            ".Trashes",
            "@eaDir",
            "#recycle",
            ".fuse_hidden0000001c00000002",
            ".nfs00000000012ab34c00000001",
            ".com.apple.timemachine.donotpresent",
            ".trashed-1700000000-a.jpg",
            "図面.dwl",
            "A.DWL2",
        ] {
            assert!(is_dropping(name.as_bytes()), "{name}");
        }
        assert!(is_dropping(b"._\xff\xfe"));
    }

    #[test]
    fn what_a_person_may_have_made() {
        for name in [
            "",
            "meta.json",
            "thumbs.dbx",
            "a thumbs.db",
            "Thumbs.db.csv",
            "desktop.ini.bak",
            "a~$b",
            "~a",
            "a~",
            "a.tmp",
            "a.bak",
            "a.sv$",
            ".a.swp",
            ".~lock.a",
            "lock.a#",
            ".~lock.",
            ".hidden",
            ".",
            "DS_Store",
            "FOUND.000",
            "LOST.DIR",
            "lost+found",
            "DCIM",
            "MISC",
            "RECYCLER2",
            "recycle",
            "trash",
            ".trash2",
            ".nfsense",
            "drawing.dwg",
            "dwl",
            "a.dwl.pdf",
            "a.ldb",
            "Temporary Items",
            "Thumbs",
        ] {
            assert!(!is_dropping(name.as_bytes()), "{name}");
        }
        assert!(!is_dropping(b"\xff._"));
    }

    #[test]
    fn each_stands_once_and_says_where_from() {
        for (index, one) in DROPPINGS.iter().enumerate() {
            assert!(one.pattern.matches('*').count() <= 1 && one.pattern.len() > 1, "{}", one.pattern);
            assert!(one.source.len() > 10, "{}", one.pattern);
            let before = DROPPINGS.get(..index).unwrap_or_default();
            let example = one.pattern.replace('*', "x");
            assert!(!before.iter().any(|other| other.is(example.as_bytes())), "{} stands there already", one.pattern);
        }
    }

    /// What people read is what the program does.
    #[test]
    fn the_handbook_lists_the_same() {
        const HEADING: &str = "### 数えず、写さず、消さないファイル";
        let page = include_str!("../../RUNBOOK.md");
        let section = page.split(HEADING).nth(1).and_then(|rest| rest.split("\n#").next()).unwrap();
        let cells = section.lines().filter_map(|line| line.strip_prefix("| `")?.split(" | ").next());
        let listed: Vec<&str> =
            cells.flat_map(|cell| cell.split('`').step_by(2)).filter(|name| !name.is_empty()).collect();
        assert_eq!(listed, DROPPINGS.map(|dropping| dropping.pattern));
    }
}
