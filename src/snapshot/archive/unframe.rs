//! Decodes a file of zstd frames on other threads, with another implementation than the one that wrote it. One thread reads and
//! hashes the file; frames as they are written here are decoded on a thread each, anything else by the one that reads.
//!
//! A cut at a frame's end decodes cleanly; that the frames are all there, only what is in them can prove.

use std::io::{self, BufRead, BufReader, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use codec::{Decoder, Fault, Frame};
use sha2::{Digest, Sha256};

use super::guard::{Pending, Work, Workers, guarded};
use super::members::{damage, not_taken};
use super::split::{self, Next};
use super::{BUFFER, Piece};
use crate::os::thread;

/// The largest window that a frame may ask for, bytes, since it is memory that the decoder takes: what `zstd` itself takes without
/// being asked to take more (`zstd --ultra -22`, `--long`).
const MAX_WINDOW: u64 = 128 << 20;
/// The same for a frame as they are written here, of which several are decoded at once.
const MAX_WINDOW_OF_WHOLE: u64 = 16 << 20;
/// Frames that wait between the threads; one more is at either end.
const AHEAD: usize = 1;

/// Threads that decode whole frames at most; each takes memory.
const THREADS: usize = 3;

/// What the reading thread gives on.
enum Item {
    /// A frame that is being decoded.
    Frame(Pending<Piece>),
    Decoded(Piece),
}

/// Pieces that wait to be used again.
#[derive(Clone, Default)]
struct Spare(Arc<Mutex<Vec<Piece>>>);

impl Spare {
    fn put(&self, piece: Piece) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(piece);
    }

    fn take(&self) -> Piece {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_else(Piece::new)
    }
}

/// Whether the reading thread has let go of the input, and what it read if it came to the end. A channel would be 3 KiB more of program.
#[derive(Clone, Default)]
struct Done(Arc<(Mutex<Option<Option<Total>>>, Condvar)>);

impl Done {
    fn tell(&self, total: Option<Total>) {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(total);
        self.0.1.notify_all();
    }

    fn wait(&self) -> Option<Total> {
        let mut told = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match *told {
                Some(total) => return total,
                None => told = self.0.1.wait(told).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }
}

/// The decoded bytes, as a reader. Its errors are `InvalidData` for damage, anything else is the input's own.
pub(super) struct Unframed {
    items: Option<Receiver<io::Result<Item>>>,
    /// What is being read, and how far it has been.
    piece: Option<Piece>,
    at: usize,
    /// Frames without content: other programs write some.
    empty: u64,
    /// Pieces that have been read.
    spare: Spare,
    done: Done,
}

/// What was read of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Total {
    pub(super) bytes: u64,
    pub(super) sha256: [u8; 32],
}

impl Unframed {
    /// Starts to decode.
    ///
    /// # Errors
    /// Of the system, if it starts no thread.
    pub(super) fn new(input: impl Read + Send + 'static) -> io::Result<Unframed> {
        let (send, items) = sync_channel(AHEAD);
        let done = Done::default();
        let over = done.clone();
        let spare = Spare::default();
        let spares = spare.clone();
        let task = move || {
            let input = Input(Arc::new(Mutex::new(Some(Metered { input, hasher: Sha256::new(), bytes: 0 }))));
            let on_panic = {
                // The sleeping thread must not hold the stick.
                let (input, send, over) = (input.clone(), send.clone(), over.clone());
                move || {
                    input.close();
                    let _ = send.send(Err(gave_up()));
                    over.tell(None);
                }
            };
            let end = guarded(on_panic, || decode(input.clone(), &spares, &send));
            let total = input.close();
            match end {
                Err(error) => drop(send.send(Err(error))),
                Ok(()) => drop(send),
            }
            over.tell(total);
            Ok(())
        };
        thread::start(Some("unzstd"), Box::new(task))?;
        Ok(Unframed { items: Some(items), piece: None, at: 0, empty: 0, spare, done })
    }

    /// Whether frames without content were met: none of ours is.
    pub(super) fn has_empty_frames(&self) -> bool {
        self.empty > 0
    }

    /// After the end has been read: size and SHA-256 of the input.
    pub(super) fn total(mut self) -> Option<Total> {
        self.wait()
    }

    /// Waits until the other thread has let go of the input, so that a stick can be unmounted.
    fn wait(&mut self) -> Option<Total> {
        self.items = None;
        self.done.wait()
    }
}

impl Read for Unframed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(buffer)?;
        self.consume(count);
        Ok(count)
    }
}

impl BufRead for Unframed {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.piece.as_ref().is_none_or(|piece| self.at == piece.used) {
            if let Some(mut piece) = self.piece.take() {
                if let Some(fault) = piece.fault.take() {
                    return Err(fault);
                }
                self.empty += u64::from(piece.used == 0);
                self.spare.put(piece);
            }
            let Some(items) = &self.items else { return Ok(&[]) };
            match items.recv() {
                Ok(item) => (self.piece, self.at) = (Some(decoded(item?)?), 0),
                Err(_) => self.items = None,
            }
        }
        Ok(self.piece.as_ref().and_then(|piece| piece.bytes.get(self.at..piece.used)).unwrap_or_default())
    }

    fn consume(&mut self, count: usize) {
        self.at += count;
    }
}

/// What a frame holds, once it is decoded.
fn decoded(item: Item) -> io::Result<Piece> {
    match item {
        Item::Decoded(piece) => Ok(piece),
        Item::Frame(pending) => pending.wait().ok_or_else(gave_up),
    }
}

impl Drop for Unframed {
    fn drop(&mut self) {
        self.wait();
    }
}

struct Metered<R> {
    input: R,
    hasher: Sha256,
    bytes: u64,
}

/// The input, shared with whoever has to close it when the decoder panics.
struct Input<R>(Arc<Mutex<Option<Metered<R>>>>);

impl<R> Clone for Input<R> {
    fn clone(&self) -> Self {
        Input(Arc::clone(&self.0))
    }
}

impl<R> Input<R> {
    fn close(&self) -> Option<Total> {
        // `try_lock`: if it was the input that panicked, this thread holds the lock.
        let metered = self.0.try_lock().ok()?.take()?;
        Some(Total { bytes: metered.bytes, sha256: metered.hasher.finalize().into() })
    }
}

impl<R: Read> Read for Input<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut locked = self.0.lock().map_err(|_| io::Error::other("the input is gone"))?;
        let Some(metered) = locked.as_mut() else { return Ok(0) };
        let count = metered.input.read(buffer)?;
        metered.hasher.update(buffer.get(..count).unwrap_or_default());
        metered.bytes += count as u64;
        Ok(count)
    }
}

/// Keeps an error of the input, which the decoder's own would hide.
struct Keeping<R> {
    input: R,
    error: Option<io::Error>,
}

impl<R: Read> Read for Keeping<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.input.read(buffer).inspect_err(|error| {
            if error.kind() != io::ErrorKind::Interrupted {
                self.error = Some(error.raw_os_error().map_or(error.kind().into(), io::Error::from_raw_os_error));
            }
        })
    }
}

fn in_frame(number: u64, fault: &Fault) -> io::Error {
    let why = format!("zstd frame {number}: {fault}");
    if matches!(fault, Fault::Window(_)) { not_taken(why) } else { damage(why) }
}

fn gave_up() -> io::Error {
    damage("the decoder gave up")
}

/// Ends early without an error if nobody listens any more.
fn decode(input: impl Read, spares: &Spare, send: &SyncSender<io::Result<Item>>) -> io::Result<()> {
    let mut input = BufReader::with_capacity(BUFFER, Keeping { input, error: None });
    let mut workers = Workers::new(THREADS, decompressor);
    for number in 1.. {
        let mut piece = spares.take();
        piece.number = number;
        let is_heard = match split::next(&mut input, &mut piece.frame)? {
            Next::End => break,
            Next::Whole => send.send(Ok(Item::Frame(workers.give(piece)?))).is_ok(),
            Next::Skippable => send.send(Ok(Item::Decoded(piece))).is_ok(),
            Next::Begun => begun(piece, &mut input, spares, send)
                .map_err(|fault| input.get_mut().error.take().unwrap_or_else(|| in_frame(number, &fault)))?,
        };
        if !is_heard {
            break;
        }
    }
    Ok(())
}

/// What decodes whole frames on a thread of its own.
fn decompressor() -> Work<Piece> {
    let mut decoder = Decoder::new(MAX_WINDOW_OF_WHOLE);
    Box::new(move |mut piece: Piece| {
        let frame = std::mem::take(&mut piece.frame);
        let result = whole(&mut decoder, &frame, &mut piece);
        piece.fault = result.err().map(|fault| in_frame(piece.number, &fault));
        piece.frame = frame;
        piece
    })
}

fn whole(decoder: &mut Decoder, mut frame: &[u8], piece: &mut Piece) -> Result<(), Fault> {
    if let Ok(count) = decoder.whole(frame, &mut piece.bytes) {
        piece.used = count;
        return Ok(());
    }
    // Once more, for what there is up to where it is wrong.
    piece.used = 0;
    let mut content = decoder.frame(&mut frame)?;
    fill(&mut content, piece)?;
    // There may be more than it says.
    let more = content.read(&mut [0]).map_err(broken)?;
    content.check((piece.used + more) as u64)
}

fn broken(error: io::Error) -> Fault {
    Fault::Damaged(error.to_string())
}

/// Where decoded bytes go next; nothing if it is full.
fn room(piece: &mut Piece) -> &mut [u8] {
    let end = piece.bytes.len().min(piece.used + BUFFER);
    piece.bytes.get_mut(piece.used..end).unwrap_or_default()
}

/// Decodes until the piece is full, or the frame ends.
fn fill(content: &mut Frame<'_>, piece: &mut Piece) -> Result<(), Fault> {
    loop {
        let count = content.read(room(piece)).map_err(broken)?;
        piece.used += count;
        if count == 0 {
            return Ok(());
        }
    }
}

/// Decodes what has begun, piece by piece. `false`: nobody listens any more.
fn begun(
    mut piece: Piece,
    input: &mut impl Read,
    spares: &Spare,
    send: &SyncSender<io::Result<Item>>,
) -> Result<bool, Fault> {
    let front = std::mem::take(&mut piece.frame);
    let (mut input, mut decoder) = (front.as_slice().chain(input), Decoder::new(MAX_WINDOW));
    let mut content = decoder.frame(&mut input)?;
    let mut total = 0;
    loop {
        piece.used = 0;
        let filled = fill(&mut content, &mut piece);
        if piece.used > 0 {
            total += piece.used as u64;
            if send.send(Ok(Item::Decoded(piece))).is_err() {
                return Ok(false);
            }
        } else if filled.is_ok() {
            if total == 0 {
                // Told as an empty piece.
                return content.check(0).map(|()| send.send(Ok(Item::Decoded(piece))).is_ok());
            }
            break;
        }
        filled?;
        piece = spares.take();
    }
    content.check(total).map(|()| true)
}
