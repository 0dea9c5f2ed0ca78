//! Gives one directory what another has beside its files: owner, permission bits, access lists and extended attributes
//! (SPEC 6). Who put a share's rights on a dataset's directory keeps them when it is exchanged.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::AsFd;

use rustix::fs::{
    Gid, Mode, Uid, XattrFlags, fchmod, fchown, fgetxattr, fgetxattr_query, flistxattr, flistxattr_query, fremovexattr,
    fsetxattr,
};
use rustix::io::Errno;

use super::dir::Entry;

/// Makes owner, group, mode, access lists and extended attributes of `to` those of `from`. What `to` inherited from the
/// directory that it was made in (a default access list) goes.
///
/// A filesystem without attributes keeps none, and what only the kernel or a module of it may set (`security.*`) is left
/// as it is.
///
/// # Errors
/// What the system says.
pub fn copy(from: impl AsFd, to: impl AsFd) -> io::Result<()> {
    let is = Entry::of_file(&from)?;
    // The owner first: changing it may cost bits (chown(2)). The mode before the access lists, whose mask it would change,
    // and after them once more: setting one changes the group's bits.
    fchown(&to, Some(Uid::from_raw(is.owner.0)), Some(Gid::from_raw(is.owner.1)))?;
    let names = names(&from)?;
    for name in self::names(&to)?.iter().filter(|name| !names.contains(name)) {
        settled(name, fremovexattr(&to, name.as_c_str()))?;
    }
    fchmod(&to, Mode::from_raw_mode(is.mode))?;
    for name in &names {
        if let Some(value) = value(&from, name)? {
            settled(name, fsetxattr(&to, name.as_c_str(), &value, XattrFlags::empty()))?;
        }
    }
    if Entry::of_file(&to)?.mode != is.mode {
        fchmod(&to, Mode::from_raw_mode(is.mode))?;
    }
    Ok(())
}

/// The names of all attributes that we may see.
fn names(fd: impl AsFd) -> io::Result<Vec<CString>> {
    let list = all(|| flistxattr_query(&fd), |buffer| flistxattr(&fd, buffer))?.unwrap_or_default();
    Ok(list
        .split_inclusive(|byte| *byte == 0)
        .filter_map(|name| CString::from_vec_with_nul(name.to_vec()).ok())
        .collect())
}

/// An attribute's value; none if it is gone by now.
fn value(fd: impl AsFd, name: &CStr) -> io::Result<Option<Vec<u8>>> {
    all(|| fgetxattr_query(&fd, name), |buffer| fgetxattr(&fd, name, buffer))
}

/// Asks how long an answer is, then for it; again if it has grown in between. None where there is nothing of the kind.
fn all(
    length: impl Fn() -> rustix::io::Result<usize>,
    read: impl Fn(&mut [u8]) -> rustix::io::Result<usize>,
) -> io::Result<Option<Vec<u8>>> {
    for _ in 0..8 {
        let read = length().and_then(|length| {
            let mut buffer = vec![0; length];
            let length = if length == 0 { 0 } else { read(&mut buffer)? };
            buffer.truncate(length);
            Ok(buffer)
        });
        match read {
            Ok(buffer) => return Ok(Some(buffer)),
            Err(Errno::RANGE) => {}
            Err(Errno::NODATA | Errno::OPNOTSUPP) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
    }
    Err(Errno::RANGE.into())
}

/// What may go otherwise than wished.
fn settled(name: &CStr, result: rustix::io::Result<()>) -> io::Result<()> {
    match result {
        Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(()),
        Err(Errno::PERM | Errno::ACCESS) if name.to_bytes().starts_with(b"security.") => Ok(()),
        other => Ok(other?),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{File, create_dir, set_permissions};
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use super::*;

    fn set(path: &Path, name: &CStr, value: &[u8]) {
        fsetxattr(File::open(path).unwrap(), name, value, XattrFlags::empty()).unwrap();
    }

    /// Mode, owner, and each attribute with its value.
    fn look(path: &Path) -> (u32, (u32, u32), Vec<String>) {
        let file = File::open(path).unwrap();
        let entry = Entry::of_file(&file).unwrap();
        let shown = |name: &CString| format!("{name:?} {:?}", value(&file, name).unwrap().unwrap());
        let mut attributes: Vec<String> = names(&file).unwrap().iter().map(shown).collect();
        attributes.sort();
        (entry.mode, entry.owner, attributes)
    }

    /// An access list as the kernel takes it (Linux, posix_acl_xattr.h): version 2, then tag, rights and id of each entry.
    fn access_list(entries: &[(u16, u16, u32)]) -> Vec<u8> {
        let mut list = 2u32.to_le_bytes().to_vec();
        for (tag, rights, id) in entries {
            list.extend([tag.to_le_bytes(), rights.to_le_bytes()].concat());
            list.extend(id.to_le_bytes());
        }
        list
    }

    /// The owner's rights, those of one more user, the group's, the mask, the others'.
    fn with_user(user: u32, mask: u16) -> Vec<u8> {
        const NONE: u32 = u32::MAX;
        access_list(&[(1, 7, NONE), (2, 7, user), (4, 5, NONE), (16, mask, NONE), (32, 0, NONE)])
    }

    #[test]
    fn a_new_directory_is_as_the_old_one() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        create_dir(at("old")).unwrap();
        fchown(File::open(at("old")).unwrap(), Some(Uid::from_raw(1234)), Some(Gid::from_raw(2345))).unwrap();
        set_permissions(at("old"), PermissionsExt::from_mode(0o3771)).unwrap();
        set(&at("old"), c"system.posix_acl_access", &with_user(1001, 7));
        set(&at("old"), c"system.posix_acl_default", &with_user(1002, 5));
        set(&at("old"), c"user.DOSATTRIB", b"\0x10");
        set(&at("old"), c"user.empty", b"");
        set(&at("old"), c"trusted.share", &[7; 300]);
        // What is made here inherits this one's list.
        create_dir(at("other")).unwrap();
        set(&at("other"), c"system.posix_acl_default", &with_user(1003, 7));
        create_dir(at("other/new")).unwrap();
        set(&at("other/new"), c"user.left", b"x");
        assert_eq!(look(&at("other/new")).2.len(), 3);

        copy(File::open(at("old")).unwrap(), File::open(at("other/new")).unwrap()).unwrap();
        let old = look(&at("old"));
        assert_eq!((old.0 & 0o7000, old.1, old.2.len()), (0o3000, (1234, 2345), 5));
        assert_eq!(look(&at("other/new")), old);
        // Done again, nothing changes.
        copy(File::open(at("old")).unwrap(), File::open(at("other/new")).unwrap()).unwrap();
        assert_eq!(look(&at("other/new")), old);
    }

    #[test]
    fn a_plain_one_takes_the_others_lists_away() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        create_dir(at("plain")).unwrap();
        set_permissions(at("plain"), PermissionsExt::from_mode(0o2750)).unwrap();
        create_dir(at("new")).unwrap();
        set(&at("new"), c"system.posix_acl_access", &with_user(1001, 7));
        set(&at("new"), c"system.posix_acl_default", &with_user(1001, 7));
        copy(File::open(at("plain")).unwrap(), File::open(at("new")).unwrap()).unwrap();
        assert_eq!(look(&at("new")), (0o2750, (0, 0), Vec::new()));
    }

    /// A filesystem that knows no attributes, as FAT.
    #[test]
    fn a_filesystem_without_attributes_is_no_error() {
        for attributes in [names(File::open("/proc/self").unwrap()), names(File::open("/sys").unwrap())] {
            assert!(attributes.is_ok());
        }
        let missing = value(File::open("/proc/self").unwrap(), c"user.none").unwrap();
        assert_eq!(missing, None);
        assert!(settled(c"security.selinux", Err(Errno::PERM)).is_ok());
        assert!(settled(c"user.x", Err(Errno::OPNOTSUPP)).is_ok());
        assert!(settled(c"user.x", Err(Errno::PERM)).is_err());
        assert!(settled(c"user.x", Err(Errno::NOSPC)).is_err());
    }
}
