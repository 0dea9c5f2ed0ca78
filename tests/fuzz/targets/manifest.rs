//! Any `manifest.json`: no panic; what is read leads nowhere outside, is in order, and reads the same when written.

#![no_main]

use libfuzzer_sys::fuzz_target;
use toolmaster::tree::manifest::{Reader, Writer, path_order};

fuzz_target!(|input: &[u8]| {
    let Ok(mut reader) = Reader::new(input) else { return };
    let header = reader.header().clone();
    let mut writer = Writer::new(Vec::new(), &header).unwrap();
    let mut files = Vec::new();
    let sound = loop {
        match reader.next_file() {
            Ok(Some(file)) => {
                assert!(!file.path.starts_with(b"/") && !file.path.contains(&0));
                assert!(
                    file.path.split(|byte| *byte == b'/').all(|part| part != b".." && part != b"." && !part.is_empty())
                );
                writer.push(&file).unwrap();
                files.push(file);
            }
            Ok(None) => break true,
            Err(_) => break false,
        }
    };
    assert!(files.windows(2).all(|pair| path_order(&pair[0].path, &pair[1].path).is_lt()));
    if sound {
        let bytes = writer.finish().unwrap();
        let mut again = Reader::new(&bytes[..]).unwrap();
        assert_eq!(again.header(), &header);
        for file in &files {
            assert_eq!(again.next_file().unwrap().as_ref(), Some(file));
        }
        assert!(again.next_file().unwrap().is_none());
    }
});
