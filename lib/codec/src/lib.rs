//! zstd (RFC 8878): what compresses a piece of an archive, and what decodes a frame, which is another implementation.
//!
//! A crate of its own, since both are generic: such code is compiled where it is used, by that crate's options, and toolmaster is compiled
//! to be small (docs/dependencies.md has the figures).

use std::fmt;
use std::io::{self, Read};

use ruzstd::decoding::errors::FrameDecoderError;
use ruzstd::decoding::{FrameDecoder, StreamingDecoder};
use structured_zstd::encoding::{CompressionLevel, CompressionParameters, FrameCompressor};

/// Compresses pieces, each to a frame of its own with a checksum. It is kept for the next piece, with its tables.
pub struct Encoder(FrameCompressor);

impl Encoder {
    /// `level` as `zstd` counts them; a window of 2 to the power of `window_log` bytes; blocks of at most `block` bytes.
    pub fn new(level: i32, window_log: u32, block: u32) -> Encoder {
        let level = CompressionLevel::Level(level);
        let mut encoder: FrameCompressor = FrameCompressor::new(level);
        // Refused is what no level takes; the tests would show it.
        if let Ok(parameters) = CompressionParameters::builder(level).window_log(window_log).build() {
            encoder.set_parameters(&parameters);
        }
        encoder.set_max_block_size(Some(block));
        encoder.set_content_checksum(true);
        Encoder(encoder)
    }

    /// Makes a frame of these bytes, in place of what is in `frame`; how long it is.
    pub fn compress(&mut self, bytes: &[u8], frame: &mut Vec<u8>) -> usize {
        self.0.compress_independent_frame_into(bytes, frame);
        frame.len()
    }
}

/// Why a frame is not decoded.
#[derive(Debug)]
pub enum Fault {
    /// It may be sound, but asks for so large a window, bytes.
    Window(u64),
    /// What is wrong with it, in words.
    Damaged(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Window(bytes) => write!(f, "it asks for a window of {} MiB", bytes >> 20),
            Fault::Damaged(why) => f.write_str(why),
        }
    }
}

impl From<FrameDecoderError> for Fault {
    fn from(error: FrameDecoderError) -> Fault {
        match error {
            FrameDecoderError::WindowSizeTooBig { requested, .. } => Fault::Window(requested),
            error => Fault::Damaged(error.to_string()),
        }
    }
}

/// Decodes frames. It is kept for the next frame, with its tables.
pub struct Decoder(FrameDecoder);

impl Decoder {
    /// One that refuses a frame whose window is larger than so many bytes, since it is memory that it would take.
    pub fn new(max_window: u64) -> Decoder {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(max_window);
        Decoder(decoder)
    }

    /// Decodes a whole frame to `content`; how many bytes it has.
    ///
    /// # Errors
    /// What is wrong, among it that `content` is too small. What it holds then is not said; [`Decoder::frame`] tells.
    pub fn whole(&mut self, frame: &[u8], content: &mut [u8]) -> Result<usize, Fault> {
        let count = self.0.decode_all(frame, content)?;
        check(&self.0, count as u64).map(|()| count)
    }

    /// Begins the frame that `input` gives next.
    ///
    /// # Errors
    /// Why it is none; an error of the input among it.
    pub fn frame<'a>(&'a mut self, input: &'a mut dyn Read) -> Result<Frame<'a>, Fault> {
        StreamingDecoder::new_with_decoder(input, &mut self.0).map(Frame).map_err(Fault::from)
    }
}

/// A frame that is being decoded: its content, as a reader.
pub struct Frame<'a>(StreamingDecoder<&'a mut dyn Read, &'a mut FrameDecoder>);

impl Read for Frame<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Frame<'_> {
    /// After its end: that it had as many bytes as it says, of which `count` were read, and its checksum.
    ///
    /// # Errors
    /// What is wrong.
    pub fn check(self, count: u64) -> Result<(), Fault> {
        check(self.0.into_frame_decoder(), count)
    }
}

fn check(decoder: &FrameDecoder, count: u64) -> Result<(), Fault> {
    // RFC 8878 3.1.1.1.4: zero where the size is not given.
    if decoder.content_size() != 0 && decoder.content_size() != count {
        return Err(Fault::Damaged(format!("it has {count} bytes instead of {}", decoder.content_size())));
    }
    match decoder.get_checksum_from_data() {
        Some(checksum) if decoder.get_calculated_checksum() != Some(checksum) => {
            Err(Fault::Damaged("its checksum is wrong".to_owned()))
        }
        _ => Ok(()),
    }
}
