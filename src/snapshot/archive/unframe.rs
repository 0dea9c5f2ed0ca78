//! Decodes a file of zstd frames on a thread of its own, with another implementation than the one that wrote it.
//!
//! A cut at a frame's end decodes cleanly; that the frames are all there, only what is in them can prove.

use std::io::{self, BufRead, BufReader, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};

use ruzstd::decoding::{FrameDecoder, StreamingDecoder};
use sha2::{Digest, Sha256};

use super::BUFFER;
use super::guard::guarded;

/// The largest window that a frame may ask for, bytes, since it is memory that the decoder takes: twice what `tar --zstd`
/// and `zstd` up to -19 use.
const MAX_WINDOW: u64 = 16 << 20;
/// Bytes of a decoded piece: as much as the allocator takes from memory that it has, and not anew from the system.
const PIECE: usize = 64 << 10;
/// Decoded pieces under way between the threads.
const AHEAD: usize = 16;

/// The decoded bytes, as a reader. Its errors are `InvalidData` for damage, anything else is the input's own.
pub(super) struct Unframed {
    pieces: Option<Receiver<io::Result<Vec<u8>>>>,
    piece: io::Cursor<Vec<u8>>,
    done: Option<Receiver<Option<Total>>>,
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
        let (send, pieces) = sync_channel(AHEAD);
        let (send_done, done) = sync_channel(1);
        std::thread::Builder::new().name("unzstd".to_owned()).spawn(move || {
            let input = Input(Arc::new(Mutex::new(Some(Metered { input, hasher: Sha256::new(), bytes: 0 }))));
            let on_panic = {
                // The sleeping thread must not hold the stick.
                let (input, send, send_done) = (input.clone(), send.clone(), send_done.clone());
                move || {
                    input.close();
                    let _ = send.send(Err(damage("the decoder gave up")));
                    let _ = send_done.try_send(None);
                }
            };
            let end = guarded(on_panic, || decode(input.clone(), &send));
            let total = input.close();
            match end {
                Err(error) => drop(send.send(Err(error))),
                Ok(()) => drop(send),
            }
            let _ = send_done.try_send(total);
        })?;
        Ok(Unframed { pieces: Some(pieces), piece: io::Cursor::default(), done: Some(done) })
    }

    /// After the end has been read: size and SHA-256 of the input.
    pub(super) fn total(mut self) -> Option<Total> {
        self.wait()
    }

    /// Waits until the other thread has let go of the input, so that a stick can be unmounted.
    fn wait(&mut self) -> Option<Total> {
        self.pieces = None;
        self.done.take()?.recv().ok().flatten()
    }
}

impl Read for Unframed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let count = self.piece.read(buffer)?;
            if count > 0 || buffer.is_empty() {
                return Ok(count);
            }
            let Some(pieces) = &self.pieces else { return Ok(0) };
            match pieces.recv() {
                Ok(piece) => self.piece = io::Cursor::new(piece?),
                Err(_) => self.pieces = None,
            }
        }
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
    input: BufReader<R>,
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

fn damage(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// Ends early without an error if nobody listens any more.
fn decode(input: impl Read, send: &SyncSender<io::Result<Vec<u8>>>) -> io::Result<()> {
    let mut input = Keeping { input: BufReader::with_capacity(BUFFER, input), error: None };
    let mut decoder = FrameDecoder::new();
    decoder.set_max_window_size(MAX_WINDOW);
    let mut number = 0_u64;
    while !input.input.fill_buf()?.is_empty() {
        number += 1;
        match frame(&mut input, &mut decoder, send) {
            Ok(true) => {}
            Ok(false) => return Ok(()),
            Err(why) => {
                return Err(input.error.take().unwrap_or_else(|| damage(&format!("zstd frame {number}: {why}"))));
            }
        }
    }
    Ok(())
}

/// One frame. `false`: nobody listens any more.
fn frame(
    input: &mut impl Read,
    decoder: &mut FrameDecoder,
    send: &SyncSender<io::Result<Vec<u8>>>,
) -> Result<bool, String> {
    let mut stream = StreamingDecoder::new_with_decoder(input, decoder).map_err(|error| error.to_string())?;
    let mut count = 0;
    loop {
        let mut piece = Vec::with_capacity(PIECE);
        (&mut stream).take(PIECE as u64).read_to_end(&mut piece).map_err(|error| error.to_string())?;
        if piece.is_empty() {
            break;
        }
        count += piece.len() as u64;
        if send.send(Ok(piece)).is_err() {
            return Ok(false);
        }
    }
    let decoder = stream.into_frame_decoder();
    if count == 0 {
        return Err("it is empty".to_owned());
    }
    // RFC 8878 3.1.1.1.4: zero where the size is not given.
    if decoder.content_size() != 0 && decoder.content_size() != count {
        return Err(format!("it has {count} bytes instead of {}", decoder.content_size()));
    }
    match decoder.get_checksum_from_data() {
        Some(checksum) if decoder.get_calculated_checksum() != Some(checksum) => {
            Err("its checksum is wrong".to_owned())
        }
        _ => Ok(true),
    }
}
