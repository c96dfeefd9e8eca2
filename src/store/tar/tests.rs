//! Both directions against each other, and what readers of real archives meet.

use super::read::{End, TarReader};
use super::write::TarWriter;
use super::*;
use crate::store::error::Kind;

fn entry(path: &[u8], kind: EntryKind) -> Entry {
    Entry {
        path: path.to_vec(),
        kind,
        perm: 0o4755,
        uid: 1,
        gid: 2,
        mtime: Time {
            sec: 1_000_000_000,
            nsec: 0,
        },
        size: 0,
        link: Vec::new(),
        rdev: Rdev::default(),
        xattrs: Vec::new(),
    }
}

fn archive(entries: &[Entry]) -> Vec<u8> {
    let mut writer = TarWriter::new(Vec::new());
    for entry in entries {
        writer.entry(entry).unwrap();
        if entry.size > 0 {
            writer.data(&vec![b'd'; entry.size as usize]).unwrap();
        }
    }
    writer.finish().unwrap()
}

/// All entries, and the archive put together again.
fn read(bytes: &[u8]) -> crate::store::error::Result<(Vec<Entry>, Vec<u8>, Option<End>)> {
    let mut reader = TarReader::new(bytes);
    let (mut entries, mut again) = (Vec::new(), Vec::new());
    while let Some(entry) = reader.next_entry()? {
        again.extend(reader.take_raw());
        let mut data = vec![0; entry.size as usize + 1];
        assert_eq!(reader.read_data(&mut data)? as u64, entry.size);
        again.extend_from_slice(&data[..entry.size as usize]);
        entries.push(entry);
    }
    again.extend(reader.take_raw());
    reader.drain(|piece| {
        again.extend_from_slice(piece);
        Ok(())
    })?;
    Ok((entries, again, reader.end()))
}

fn everything() -> Vec<Entry> {
    let big = Entry {
        uid: u32::MAX - 1,
        gid: 3_000_000,
        ..entry(b"big-ids", EntryKind::File)
    };
    let old = Entry {
        mtime: Time { sec: -5, nsec: 0 },
        ..entry(b"old", EntryKind::Fifo)
    };
    let data = Entry {
        size: 513,
        ..entry(&[b'n'; 100], EntryKind::File)
    };
    let full = Entry {
        size: 1024,
        ..entry(&[b'n'; 101], EntryKind::File)
    };
    let link = Entry {
        link: vec![b't'; 300],
        ..entry(b"l\n\xff", EntryKind::Symlink)
    };
    let hard = Entry {
        link: b"old".to_vec(),
        ..entry(b"hard", EntryKind::HardLink)
    };
    let device = Entry {
        rdev: Rdev {
            major: 259,
            minor: 70_000,
        },
        ..entry(b"dev", EntryKind::Block)
    };
    let pairs = [(&b"user.a"[..], &b"\0\n="[..]), (b"user.b", b"")];
    let xattrs = pairs.map(|(n, v)| (n.to_vec(), v.to_vec())).to_vec();
    let dir = Entry {
        xattrs,
        ..entry(b"dir/", EntryKind::Dir)
    };
    vec![big, old, data, full, link, hard, device, dir]
}

#[test]
fn everything_comes_back_and_so_do_the_bytes() {
    let bytes = archive(&everything());
    let (entries, again, end) = read(&bytes).unwrap();
    assert_eq!(entries, everything());
    assert_eq!(again, bytes);
    assert_eq!(end, Some(End::Marked));
    assert_eq!(archive(&entries), bytes);
}

#[test]
fn every_cut_is_noticed() {
    let bytes = archive(&everything());
    let body = bytes.len() - 1024;
    for cut in (0..body).step_by(64) {
        match read(&bytes[..cut]) {
            // Between two entries only the missing mark tells.
            Ok((_, _, end)) => assert_eq!(end, Some(End::Unmarked), "cut at {cut}"),
            Err(error) => assert_eq!(error.kind, Kind::Corrupt, "cut at {cut}"),
        }
    }
    // Half an end mark is one.
    assert_eq!(read(&bytes[..body + 512]).unwrap().2, Some(End::Marked));
    let trailer = [&bytes[..], &[7; 1000]].concat();
    assert_eq!(read(&trailer).unwrap().1, trailer);
}

#[test]
fn every_broken_bit_of_a_header_is_noticed() {
    let bytes = archive(&[entry(b"name", EntryKind::File)]);
    for at in 0..512 {
        for bit in [1, 0x20] {
            let mut broken = bytes.clone();
            broken[at] ^= bit;
            // Spaces and zeros around a number mean the same.
            let is_filler = (148..156).contains(&at) && read(&broken).is_ok();
            assert!(is_filler || read(&broken).is_err(), "byte {at}");
        }
    }
    assert_eq!(
        read(b"neither zip nor tar").unwrap_err().kind,
        Kind::Corrupt
    );
    assert_eq!(read(&[0x41; 4096]).unwrap_err().kind, Kind::Corrupt);
}

#[test]
fn any_bytes_give_an_answer() {
    // A generator of its own, so that a failure comes again.
    let mut state: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let good = archive(&everything());
    for _ in 0..2_000 {
        let mut bytes = good.clone();
        for _ in 0..next() % 8 + 1 {
            let at = (next() % bytes.len() as u64) as usize;
            bytes[at] = next() as u8;
            fix_checksums(&mut bytes);
        }
        if let Ok((_, again, _)) = read(&bytes) {
            assert_eq!(again, bytes);
        }
    }
}

/// So that damage reaches the fields.
fn fix_checksums(bytes: &mut [u8]) {
    for block in bytes.chunks_exact_mut(512) {
        if block[257..262] == *b"ustar" {
            block[148..156].fill(b' ');
            let sum: u32 = block.iter().map(|&b| u32::from(b)).sum();
            block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        }
    }
}

#[test]
fn gnu_names_binary_numbers_and_old_directories() {
    let long = [b'x'; 150];
    let mut name = entry(b"././@LongLink", EntryKind::File);
    name.size = 151;
    let mut bytes = archive(&[
        name,
        entry(b"short", EntryKind::File),
        entry(b"old/", EntryKind::File),
    ]);
    bytes[156] = b'L';
    bytes[512..662].copy_from_slice(&long);
    bytes[662] = 0;
    // The owner of "short" in base 256.
    bytes[1024 + 108..1024 + 116].copy_from_slice(&[0x80, 0, 0, 0, 0xff, 0xff, 0xff, 0xfe]);
    // The type of old directories.
    bytes[1536 + 156] = 0;
    // A time before 1970.
    bytes[1024 + 136..1024 + 148].copy_from_slice(&[0xff; 12]);
    fix_checksums(&mut bytes);
    let (entries, again, _) = read(&bytes).unwrap();
    assert_eq!(again, bytes);
    assert_eq!(entries[0].path, long);
    assert_eq!((entries[0].uid, entries[0].mtime.sec), (u32::MAX - 1, -1));
    assert_eq!(entries[1].kind, EntryKind::Dir);
}

#[test]
fn a_name_that_a_header_cuts_after_a_slash_is_still_a_file() {
    let long = [&b"d/".repeat(60)[..], b"f"].concat();
    let file = Entry {
        size: 3,
        ..entry(&long, EntryKind::File)
    };
    let bytes = archive(std::slice::from_ref(&file));
    assert!(bytes[1024..1124].ends_with(b"/"));
    assert_eq!(read(&bytes).unwrap().0, [file]);
}

#[test]
fn sizes_that_lie() {
    let lie = |size: &[u8]| {
        let mut bytes = archive(&[entry(b"a", EntryKind::File)]);
        bytes[124..124 + size.len()].copy_from_slice(size);
        fix_checksums(&mut bytes);
        read_sizes(&bytes)
    };
    assert_eq!(lie(b"77777777777\0"), Err(Kind::Corrupt));
    assert_eq!(lie(&[0xff; 12]), Err(Kind::Corrupt));
    assert_eq!(
        lie(&[
            0x80, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff
        ]),
        Err(Kind::Corrupt)
    );
    assert_eq!(lie(b"0000000zz00\0"), Err(Kind::Corrupt));
    let mut long = archive(&[entry(b"a", EntryKind::File)]);
    long[156] = b'x';
    long[124..136].copy_from_slice(b"00010000000\0");
    fix_checksums(&mut long);
    assert_eq!(read_sizes(&long), Err(Kind::Corrupt));
}

/// Only skips, so that a claimed size is not allocated.
fn read_sizes(bytes: &[u8]) -> Result<(), Kind> {
    let mut reader = TarReader::new(bytes);
    while reader.next_entry().map_err(|error| error.kind)?.is_some() {}
    Ok(())
}
