//! What the first version of the program kept of a stick is read once and carried over: `<dataset>.base`, the common state by dataset, from which
//! the stick's manifest can be made again, byte for byte, and so is known; and its intents, which have kept their names.

use super::{Dataset, Header, Result, State, StickState, Stream, Writer, hex, pending_names};
use crate::error::Error;
use crate::os::atomic;
use crate::os::dir::Dir;
use crate::tree::copy::{self, HashingWriter};

/// What of the first version is known and could not be written down (a dry run).
#[derive(Default)]
pub struct Old {
    /// The digest of the complete manifest that it wrote last.
    pub manifest: Option<String>,
    /// The digest of the manifest that said `incomplete`.
    pub mark: Option<String>,
}

impl StickState {
    /// A crash leaves the old files, and all of it is done again: the last ones to go are those by which it is known that there is anything to do.
    pub(super) fn carry_over(&self, dry_run: bool) -> Result<Old> {
        let Some(dir) = &self.dir else { return Ok(Old::default()) };
        let bases = self.old_bases(dir)?;
        let put = Dataset::ALL.iter().map(|dataset| dir.look(&old_put(*dataset))).collect::<Result<Vec<_>>>()?;
        if bases.is_empty() && put.iter().all(Option::is_none) {
            return Ok(Old::default());
        }
        let half_done = Dataset::ALL.iter().map(|dataset| pending_names(dir, *dataset)).collect::<Result<Vec<_>>>()?;
        let cut_off = half_done.iter().flatten().any(|name| name.ends_with(b"-planned"));
        // What an undo put on the stick stood in its manifest, which is no common state.
        let is_common = put.iter().all(Option::is_none);
        let mut header = Header::complete(&self.server_id);
        for (dataset, base) in &bases {
            header.runs.extend(base.run(dataset.name()).map(|run| (dataset.name().to_owned(), run.to_owned())));
        }
        let fail = |error| Error::io("read the lists in", dir.path(), error);
        let incomplete = Header { state: State::Incomplete, ..header.clone() };
        let mark = Writer::new(Vec::new(), &incomplete).and_then(Writer::finish).map_err(fail)?;
        let mark = hex(&copy::hash_bytes(&mark));
        let digest = self.rebuild(&header, HashingWriter::new(std::io::sink()))?;
        let old = Old { manifest: Some(digest.1).filter(|_| is_common), mark: Some(mark.clone()).filter(|_| cut_off) };
        if dry_run {
            return Ok(old);
        }
        const NAME: &[u8] = b".carried.tmp";
        dir.remove(NAME)?;
        let (file, digest) = self.rebuild(&header, HashingWriter::new(dir.create(NAME, 0o600)?))?;
        file.sync_all().map_err(fail)?;
        if is_common {
            self.add_manifest(&digest)?;
        }
        if cut_off {
            atomic::write(dir, b"mark", format!("{mark} -\n").as_bytes(), 0o600)?;
        }
        dir.rename(NAME, dir, if cut_off { b"base.json" } else { b"last.json" })?;
        dir.sync()?;
        for dataset in Dataset::ALL {
            dir.remove(&old_put(dataset))?;
            dir.remove(&old_base(dataset))?;
        }
        dir.sync()?;
        Ok(Old::default())
    }

    fn old_bases(&self, _dir: &Dir) -> Result<Vec<(Dataset, Stream)>> {
        let mut bases = Vec::new();
        // In walk order: docviewer before master.
        for dataset in [Dataset::Docviewer, Dataset::Master] {
            bases.extend(self.open_sound(&old_base(dataset), b"")?.map(|base| (dataset, base)));
        }
        Ok(bases)
    }

    /// The manifest as the first version wrote it; the writer, and the digest of what was written.
    fn rebuild<W: std::io::Write>(&self, header: &Header, out: HashingWriter<W>) -> Result<(W, String)> {
        let Some(dir) = &self.dir else { return Err(Error::Interrupted) };
        let fail = |error| Error::io("carry over the lists in", dir.path(), error);
        let mut writer = Writer::new(out, header).map_err(fail)?;
        for (dataset, mut files) in self.old_bases(dir)? {
            while let Some(mut listed) = files.take()? {
                listed.path = [dataset.prefix(), &listed.path].concat();
                writer.push(&listed).map_err(fail)?;
            }
        }
        let (out, sha256) = writer.finish().map_err(fail)?.end();
        Ok((out, hex(&sha256)))
    }
}

fn old_base(dataset: Dataset) -> Vec<u8> {
    format!("{}.base", dataset.name()).into_bytes()
}

fn old_put(dataset: Dataset) -> Vec<u8> {
    format!("{}.pending-put", dataset.name()).into_bytes()
}
