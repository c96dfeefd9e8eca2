//! Trees to work on: always the same, of bytes that do not compress to nothing.

use std::fs;
use std::path::Path;

/// Bytes that look like those of programs: half of them repeat.
pub fn bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut data = Vec::with_capacity(len + 16);
    while data.len() < len {
        data.extend(next().to_le_bytes());
        data.extend(b"the same");
    }
    data.truncate(len);
    data
}

/// `files` files of 0.2 to 6 KB, a hundred in a directory.
pub fn small_files(at: &Path, files: u64) {
    let text = bytes(1, 16 << 10);
    for i in 0..files {
        let dir = at.join(format!("d{}/e{}", i / 1000, i / 100 % 10));
        if i % 100 == 0 {
            fs::create_dir_all(&dir).unwrap();
        }
        let from = (i * 37 % 8192) as usize;
        let len = 200 + (i * 7919 % 5800) as usize;
        fs::write(dir.join(format!("file-{i}")), &text[from..from + len]).unwrap();
    }
}

/// What a small distribution is like: `files` files of 38 KB on average, most far smaller, and a file of `big` bytes.
pub fn base(at: &Path, files: u64, big: u64) {
    let text = bytes(2, 1 << 20);
    for i in 0..files {
        let dir = at.join(format!("usr/{}/{}", i / 400, i / 40 % 10));
        if i % 40 == 0 {
            fs::create_dir_all(&dir).unwrap();
        }
        let len = match i % 20 {
            0 => 400_000,
            1..=4 => 60_000,
            n => 500 * (n as usize + i as usize % 8),
        };
        let from = (i * 4099 % (600 << 10)) as usize;
        fs::write(dir.join(format!("file-{i}")), &text[from..from + len]).unwrap();
    }
    big_file(&at.join("big"), big);
}

/// One file of random bytes.
pub fn big_file(at: &Path, len: u64) {
    fs::write(at, bytes(3, len as usize)).unwrap();
}
