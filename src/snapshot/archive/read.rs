//! Reads an archive: one pass that decodes, proves and, if wanted, extracts.

use std::io::{self, BufRead, Read};

use log::warn;
use sha2::{Digest, Sha256};

use super::MANIFEST;
use super::extract::{Extract, Put};
use super::failing::{Failing, refused};
use super::members::{Kind, Member, Members, damage, not_taken};
use super::pattern::Pattern;
use super::proof::Roll;
use super::root::Root;
use super::unframe::Unframed;
use crate::error::{Error, Result};
use crate::os::dir::Dir;
use crate::os::progress::Progress;
use crate::os::signal;
use crate::text::{Shown, hex};
use crate::tree::manifest::{self, Header, Listed, path_order};

/// An archive, and what is wanted of it.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// The archive in messages, already made safe to print.
    pub shown: &'a str,
    /// The SHA-256 of its bytes, where one is known: it finds what no content shows, such as a bit that means nothing.
    pub sha256: Option<[u8; 32]>,
    /// An empty directory that gets what lies below the archive's root; none to read without writing anything.
    pub target: Option<&'a Dir>,
    /// Only what it takes is written. All is read and proved.
    pub only: Option<&'a Pattern>,
}

/// An archive that was read to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// Files in it, without the manifest.
    pub files: u64,
    /// Bytes of these files.
    pub content: u64,
    /// Files written to the target, the manifest among them.
    pub written: u64,
    /// Bytes of the archive.
    pub bytes: u64,
    /// SHA-256 of the archive's bytes.
    pub sha256: [u8; 32],
    /// The manifest's first line. `None`: it has no manifest (the original system made it); the frames' checksums are
    /// right and the tar is whole, but whether its files are what they were could not be checked.
    pub manifest: Option<Header>,
    /// SHA-256 of the manifest.
    pub manifest_sha256: Option<[u8; 32]>,
}

impl Checked {
    /// Whether the manifest was made with the snapshot. One that was made for a snapshot of the original system, when that was archived, has
    /// no number, and does not say what its files were when they were taken.
    pub fn is_proven(&self) -> bool {
        self.manifest.as_ref().is_some_and(|header| header.seq.is_some())
    }
}

/// Reads an archive to its end, proves what is in it and extracts what is wanted. Without an error each file of the
/// manifest is there with its size, time and content, and nothing else is. With one, the files already in the target are
/// sound each, but not all there are.
///
/// # Errors
/// `Refused` if it is not whole, holds what may not be in an archive or what is wanted is not in it, naming the first
/// path; `Unreadable` if the medium can't be read, `Io` for the target, `Interrupted`.
pub fn read(input: impl Read + Send + 'static, source: Source<'_>, progress: &mut Progress) -> Result<Checked> {
    let unframed = Unframed::new(input).map_err(|error| Error::Io {
        what: "start a thread to read",
        path: source.shown.to_owned(),
        source: error,
    })?;
    let mut reader = Reader {
        source,
        members: Members::new(unframed),
        extract: source.target.map(Extract::new),
        root: Root::default(),
        last: Vec::new(),
        promised: None,
        found: Roll::default(),
        written: 0,
        manifest_sha256: None,
        progress,
    };
    loop {
        signal::check()?;
        match reader.members.next() {
            Ok(Some(member)) => reader.member(&member)?,
            Ok(None) => return reader.end(),
            Err(error) => return Err(reader.bad(error)),
        }
    }
}

struct Reader<'a> {
    source: Source<'a>,
    members: Members<Unframed>,
    extract: Option<Extract<'a>>,
    root: Root,
    /// Path of the last entry, below the root.
    last: Vec<u8>,
    /// From the manifest, its first line and a digest over the others.
    promised: Option<(Header, Roll)>,
    /// The same of the files met.
    found: Roll,
    written: u64,
    /// SHA-256 of the manifest.
    manifest_sha256: Option<[u8; 32]>,
    progress: &'a mut Progress,
}

impl Reader<'_> {
    fn member(&mut self, member: &Member) -> Result<()> {
        if let (Kind::Other(what), None) = (member.kind, &self.promised) {
            return Err(self.bad(not_taken(format!("{} is a {what}", Shown(&member.path)))));
        }
        let path = self.root.below(member).map_err(|error| self.bad(error))?;
        match member.kind {
            Kind::Bare(what) if self.promised.is_none() => {
                warn!("left out of {}: {} is a {what}", self.source.shown, Shown(&path));
                return Ok(());
            }
            Kind::Bare(what) | Kind::Other(what) => {
                let why = format!("{} is a {what}: an archive has only files and directories", Shown(&path));
                return Err(self.bad(damage(why)));
            }
            Kind::File | Kind::Dir => {}
        }
        let in_order = path == MANIFEST || self.last == MANIFEST || path_order(&self.last, &path).is_lt();
        if self.promised.is_some() && !in_order {
            return Err(self.bad(damage(format!("{} is not where it belongs, or there twice", Shown(&path)))));
        }
        self.last = path;
        match member.kind {
            Kind::File if self.last == MANIFEST && member.proof.is_some() => self.manifest(member),
            Kind::File => self.file(member),
            _ => self.directory(member),
        }
    }

    fn directory(&mut self, member: &Member) -> Result<()> {
        let wanted = !self.last.is_empty() && self.wanted();
        match &mut self.extract {
            Some(extract) if wanted => extract.directory(&self.last, member.mode, member.mtime),
            _ => Ok(()),
        }
    }

    fn wanted(&self) -> bool {
        self.source.only.is_none_or(|only| only.is_all() || only.takes(&self.last))
    }

    fn manifest(&mut self, member: &Member) -> Result<()> {
        if self.promised.is_some() || self.found.files > 0 {
            return Err(self.bad(damage("its manifest does not come first")));
        }
        let mut roll = Roll::default();
        let mut whole = true;
        let header = self.content(member, |input| {
            let mut lines = manifest::Reader::new(input)?;
            while let Some(file) = lines.next_file()? {
                whole &= file.sha256.is_some();
                roll.push(&file);
            }
            Ok(lines.header().clone())
        })?;
        if !whole || !header.is_complete() {
            return Err(self.bad(damage("its manifest is that of a snapshot that was never finished")));
        }
        self.promised = Some((header, roll));
        self.manifest_sha256 = member.proof.map(|proof| proof.sha256);
        Ok(())
    }

    fn file(&mut self, member: &Member) -> Result<()> {
        match (&self.promised, member.proof) {
            (Some(_), None) => {
                return Err(self.bad(damage(format!("{} is not in the manifest", Shown(&self.last)))));
            }
            (Some(_), Some(proof)) if proof.number != self.found.files + 1 => {
                let (first, last) = (self.found.files + 1, proof.number.saturating_sub(1));
                let why = format!("files {first} to {last} of the manifest are missing before {}", Shown(&self.last));
                return Err(self.bad(damage(why)));
            }
            (None, Some(_)) => return Err(self.bad(damage("its manifest is missing"))),
            _ => {}
        }
        let sha256 = self.content(member, |input| {
            while input.pass(<[u8]>::len)? > 0 {}
            Ok(input.hasher.clone().finalize().into())
        })?;
        self.found.push(&Listed {
            path: self.last.clone(),
            size: member.size,
            mtime: member.mtime,
            sha256: Some(sha256),
        });
        self.progress.add_file();
        Ok(())
    }

    /// Passes a content through `take` and into the file that is wanted, and proves it.
    fn content<T>(&mut self, member: &Member, take: impl FnOnce(&mut Tee<'_, '_>) -> io::Result<T>) -> Result<T> {
        let wanted = self.wanted();
        let put = match &mut self.extract {
            Some(extract) if wanted => Some(extract.file(&self.last)?),
            _ => None,
        };
        let mut tee =
            Tee { members: &mut self.members, hasher: Sha256::new(), put, failed: None, progress: self.progress };
        let taken = take(&mut tee).and_then(|taken| {
            if tee.pass(<[u8]>::len)? > 0 {
                return Err(damage("something follows its last line"));
            }
            let sound = member.proof.is_none_or(|proof| proof.sha256[..] == tee.hasher.clone().finalize()[..]);
            if sound { Ok(taken) } else { Err(damage("its content is not that of the manifest")) }
        });
        let Tee { put, failed, .. } = tee;
        match (taken, failed, put) {
            (Ok(taken), None, put) => {
                if let Some(put) = put {
                    put.keep(member.mode, member.mtime)?;
                    self.written += 1;
                }
                Ok(taken)
            }
            (_, Some(failed), put) => {
                put.into_iter().for_each(Put::drop_it);
                Err(failed)
            }
            (Err(error), None, put) => {
                put.into_iter().for_each(Put::drop_it);
                Err(self.bad_file(error))
            }
        }
    }

    fn end(mut self) -> Result<Checked> {
        let shown = self.source.shown;
        if let Some((_, promised)) = &self.promised
            && promised.files != self.found.files
        {
            let why = format!("{} of the {} files of its manifest are in it", self.found.files, promised.files);
            return Err(self.bad(damage(why)));
        }
        let fail = Failing { shown, last: self.last.clone() };
        let ours = self.promised.is_some();
        let unframed = self.members.end(ours).map_err(|error| fail.error(error))?;
        if ours && unframed.has_empty_frames() {
            return Err(fail.error(damage("a zstd frame without content is in it")));
        }
        let total = unframed.total().ok_or_else(|| fail.error(damage("it could not be read to its end")))?;
        if let Some(extract) = &mut self.extract {
            extract.finish()?;
        }
        if let Some(only) = self.source.only.filter(|_| self.source.target.is_some() && self.written == 0) {
            return Err(Error::NoSource {
                why: format!("there is no file {} in {shown}", Shown(only.text().as_bytes())),
                next: "look for it with a part of its name: toolmaster restore --list '*NAME*'",
            });
        }
        let (files, content) = (self.found.files, self.found.bytes);
        // To tar, zeros without end are an archive of nothing; to an operator that is no backup.
        if files == 0 {
            return Err(refused(format!("{shown} holds no files")));
        }
        let manifest = match self.promised {
            Some((header, promised)) if promised.digest() == self.found.digest() => Some(header),
            Some(_) => return Err(refused(format!("{shown} is damaged: its files are not those of its manifest"))),
            None => None,
        };
        if self.source.sha256.is_some_and(|sha256| sha256 != total.sha256) {
            let why = format!("{shown} is not what was written: its SHA-256 is {}", hex(&total.sha256));
            let is_proven = manifest.as_ref().is_some_and(|header| header.seq.is_some());
            if !is_proven {
                return Err(refused(why));
            }
            // An older archive instead of one whose every file is proved would be the wrong one.
            if self.source.target.is_none() {
                return Err(refused(format!("{why}; each file in it is that of its manifest")));
            }
            warn!("{why}; it is taken all the same: each file in it is that of its manifest");
        }
        let (bytes, sha256) = (total.bytes, total.sha256);
        let manifest_sha256 = self.manifest_sha256;
        Ok(Checked { files, content, written: self.written, bytes, sha256, manifest, manifest_sha256 })
    }

    /// An error between two contents.
    fn bad(&self, error: io::Error) -> Error {
        Failing { shown: self.source.shown, last: self.last.clone() }.error(error)
    }

    /// An error within the content of the last entry.
    fn bad_file(&self, error: io::Error) -> Error {
        if error.kind() == io::ErrorKind::InvalidData {
            let shown = self.source.shown;
            return refused(format!("{shown} is damaged in {}: {error}", Shown(&self.last)));
        }
        self.bad(error)
    }
}

/// A content on its way: hashed, and written where it is wanted.
struct Tee<'a, 'b> {
    members: &'a mut Members<Unframed>,
    hasher: Sha256,
    put: Option<Put<'b>>,
    /// Why it could not be written.
    failed: Option<Error>,
    progress: &'a mut Progress,
}

impl Tee<'_, '_> {
    /// Passes on what there is, as much of it as `taken` says; how much that was, 0 at the end.
    fn pass(&mut self, taken: impl FnOnce(&[u8]) -> usize) -> io::Result<usize> {
        let there = self.members.fill_buf()?;
        let count = taken(there);
        let bytes = there.get(..count).unwrap_or_default();
        self.hasher.update(bytes);
        let written = self.put.as_mut().map_or(Ok(()), |put| put.write(bytes));
        self.members.consume(count);
        self.progress.add_bytes(count as u64);
        if let Err(failed) = signal::check().and(written) {
            self.failed = Some(failed);
            return Err(io::Error::other("it could not be written"));
        }
        Ok(count)
    }
}

impl Read for Tee<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.pass(|mut there| there.read(buffer).unwrap_or_default())
    }
}
