//! The frames of an archive, found without a decoder.

/// Where the frames of an archive begin, by the lengths that its frames and blocks give (RFC 8878 3.1.1).
pub fn frame_starts(archive: &[u8]) -> Vec<usize> {
    let mut starts = Vec::new();
    let mut at = 0;
    while at < archive.len() {
        starts.push(at);
        assert_eq!(archive[at..at + 4], [0x28, 0xb5, 0x2f, 0xfd], "no frame at {at}");
        let descriptor = archive[at + 4];
        let single = descriptor >> 5 & 1;
        let size = [usize::from(single), 2, 4, 8][usize::from(descriptor >> 6)];
        at += 5 + usize::from(1 - single) + size;
        loop {
            let block = u32::from_le_bytes([archive[at], archive[at + 1], archive[at + 2], 0]);
            at += 3 + if block >> 1 & 3 == 1 { 1 } else { (block >> 3) as usize };
            if block & 1 == 1 {
                break;
            }
        }
        at += 4 * usize::from(descriptor >> 2 & 1);
    }
    starts
}
