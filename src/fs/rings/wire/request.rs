//! [`Request`]: an operation with its arguments.

use super::argument::*;
use super::{Argument, Header};
use crate::sys::errno::{Errno, Result};

/// Where in the payload something is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    start: usize,
    end: usize,
}

impl Span {
    /// What is there.
    pub fn of(self, payload: &[u8]) -> &[u8] {
        payload.get(self.start..self.end).unwrap_or_default()
    }
}

/// What is asked for, about the node in the [`Header`]. Names and data are in the payload, at a [`Span`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // The names are those of FUSE.
pub enum Request {
    Lookup(Span),
    Getattr(Getattr),
    Setattr(Setattr),
    Readlink,
    /// The new name, and what it shall point to.
    Symlink(Span, Span),
    Mknod(Mknod, Span),
    Mkdir(Mkdir, Span),
    Unlink(Span),
    Rmdir(Span),
    /// The old name and the new one. RENAME is the same without flags.
    Rename(Rename2, Span, Span),
    Link(Link, Span),
    Open(Open),
    Read(Read),
    Write(Write, Span),
    Statfs,
    Release(Release),
    Fsync(Fsync),
    /// The name and the value.
    Setxattr(Setxattr, Span, Span),
    Getxattr(Getxattr, Span),
    Listxattr(Getxattr),
    Removexattr(Span),
    Flush(Flush),
    Opendir(Open),
    Readdir(Read),
    Readdirplus(Read),
    Releasedir(Release),
    Fsyncdir(Fsync),
    Access(Access),
    Create(Create, Span),
    /// With what came along.
    Ioctl(Ioctl, Span),
    Poll(Poll),
    Fallocate(Fallocate),
    Lseek(Lseek),
    /// To be answered with [`super::written`].
    CopyFileRange(CopyFileRange),
    /// The same, to be answered with [`super::lseek`], whose number is as large as the length may be.
    CopyFileRange64(CopyFileRange),
}

impl Request {
    /// Reads a request.
    ///
    /// # Errors
    /// ENOSYS for operations that are not known here; EINVAL where a name has no end or data is missing.
    pub fn decode(header: Header, argument: &Argument, payload: &[u8]) -> Result<Request> {
        let all = Span {
            start: 0,
            end: payload.len(),
        };
        let name = || one_name(payload);
        let names = || two_names(payload);
        Ok(match header.opcode {
            1 => Request::Lookup(name()?),
            3 => Request::Getattr(Getattr::decode(argument)),
            4 => Request::Setattr(Setattr::decode(argument)),
            5 => Request::Readlink,
            6 => names().map(|(name, target)| Request::Symlink(name, target))?,
            8 => Request::Mknod(Mknod::decode(argument), name()?),
            9 => Request::Mkdir(Mkdir::decode(argument), name()?),
            10 => Request::Unlink(name()?),
            11 => Request::Rmdir(name()?),
            12 => {
                let Rename { parent } = Rename::decode(argument);
                let (old, new) = names()?;
                Request::Rename(Rename2 { parent, flags: 0 }, old, new)
            }
            13 => Request::Link(Link::decode(argument), name()?),
            14 => Request::Open(Open::decode(argument)),
            15 => Request::Read(Read::decode(argument)),
            16 => {
                let write = Write::decode(argument);
                Request::Write(write, exactly(all, write.size)?)
            }
            17 => Request::Statfs,
            18 => Request::Release(Release::decode(argument)),
            20 => Request::Fsync(Fsync::decode(argument)),
            21 => {
                let set = Setxattr::decode(argument);
                let (name, value) = cut(payload, 0)?;
                Request::Setxattr(set, name, exactly(value, set.size)?)
            }
            22 => Request::Getxattr(Getxattr::decode(argument), name()?),
            23 => Request::Listxattr(Getxattr::decode(argument)),
            24 => Request::Removexattr(name()?),
            25 => Request::Flush(Flush::decode(argument)),
            27 => Request::Opendir(Open::decode(argument)),
            28 => Request::Readdir(Read::decode(argument)),
            29 => Request::Releasedir(Release::decode(argument)),
            30 => Request::Fsyncdir(Fsync::decode(argument)),
            34 => Request::Access(Access::decode(argument)),
            35 => Request::Create(Create::decode(argument), name()?),
            39 => {
                let ioctl = Ioctl::decode(argument);
                Request::Ioctl(ioctl, exactly(all, ioctl.in_size)?)
            }
            40 => Request::Poll(Poll::decode(argument)),
            43 => Request::Fallocate(Fallocate::decode(argument)),
            44 => Request::Readdirplus(Read::decode(argument)),
            45 => names().map(|(old, new)| Request::Rename(Rename2::decode(argument), old, new))?,
            46 => Request::Lseek(Lseek::decode(argument)),
            47 => Request::CopyFileRange(CopyFileRange::decode(argument)),
            53 => Request::CopyFileRange64(CopyFileRange::decode(argument)),
            _ => return Err(Errno::ENOSYS),
        })
    }
}

/// The first bytes of a span.
fn exactly(data: Span, size: u32) -> Result<Span> {
    match (size as usize).checked_add(data.start) {
        Some(end) if end <= data.end => Ok(Span { end, ..data }),
        _ => Err(Errno::EINVAL),
    }
}

/// A name, and what is after its end.
fn cut(bytes: &[u8], from: usize) -> Result<(Span, Span)> {
    let rest = bytes.get(from..).unwrap_or_default();
    let len = rest.iter().position(|byte| *byte == 0);
    let end = from + len.ok_or(Errno::EINVAL)?;
    let name = Span { start: from, end };
    let after = Span {
        start: end + 1,
        end: bytes.len(),
    };
    Ok((name, after))
}

fn one_name(bytes: &[u8]) -> Result<Span> {
    cut(bytes, 0).map(|(name, _)| name)
}

fn two_names(bytes: &[u8]) -> Result<(Span, Span)> {
    let (first, rest) = cut(bytes, 0)?;
    let (second, _) = cut(bytes, rest.start)?;
    Ok((first, second))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(words: &[u32]) -> Argument {
        let mut bytes = [0; 128];
        for (place, word) in bytes.chunks_exact_mut(4).zip(words) {
            place.copy_from_slice(&word.to_ne_bytes());
        }
        bytes
    }

    fn read(opcode: u32, argument: &Argument, payload: &[u8]) -> Result<Request> {
        let header = Header {
            opcode,
            ..Header::default()
        };
        Request::decode(header, argument, payload)
    }

    fn at(start: usize, end: usize) -> Span {
        Span { start, end }
    }

    /// Words that tell where they are.
    fn counted() -> Argument {
        bytes(&(0..32).collect::<Vec<u32>>())
    }

    /// The number that two of them make.
    fn long(first: u64) -> u64 {
        u64::from_ne_bytes(at_words(first))
    }

    fn at_words(first: u64) -> [u8; 8] {
        let mut bytes = [0; 8];
        bytes[..4].copy_from_slice(&(first as u32).to_ne_bytes());
        bytes[4..].copy_from_slice(&(first as u32 + 1).to_ne_bytes());
        bytes
    }

    #[test]
    fn the_header() {
        let header = Header::decode(&counted());
        assert_eq!(
            (header.opcode, header.unique, header.node),
            (1, long(2), long(4))
        );
        assert_eq!((header.uid, header.gid, header.pid), (6, 7, 8));
    }

    #[test]
    fn fields_are_where_the_kernel_has_them() {
        let a = counted();
        let signed = |first| long(first).cast_signed();
        assert_eq!(
            Getattr::decode(&a),
            Getattr {
                flags: 0,
                fh: long(2)
            }
        );
        let setattr = Setattr {
            valid: 0,
            fh: long(2),
            size: long(4),
            atime: signed(8),
            mtime: signed(10),
            ctime: signed(12),
            atime_nsec: 14,
            mtime_nsec: 15,
            ctime_nsec: 16,
            mode: 17,
            uid: 19,
            gid: 20,
        };
        assert_eq!(Setattr::decode(&a), setattr);
        assert_eq!(
            Mknod::decode(&a),
            Mknod {
                mode: 0,
                rdev: 1,
                umask: 2
            }
        );
        let read = Read {
            fh: long(0),
            offset: long(2),
            size: 4,
            flags: 8,
        };
        assert_eq!(Read::decode(&a), read);
        let write = Write {
            fh: long(0),
            offset: long(2),
            size: 4,
            write_flags: 5,
            flags: 8,
        };
        assert_eq!(Write::decode(&a), write);
        let create = Create {
            flags: 0,
            mode: 1,
            umask: 2,
            open_flags: 3,
        };
        assert_eq!(Create::decode(&a), create);
        let ioctl = Ioctl {
            fh: long(0),
            flags: 2,
            command: 3,
            argument: long(4),
            in_size: 6,
            out_size: 7,
        };
        assert_eq!(Ioctl::decode(&a), ioctl);
        let poll = Poll {
            fh: long(0),
            kh: long(2),
            flags: 4,
            events: 5,
        };
        assert_eq!(Poll::decode(&a), poll);
        let fallocate = Fallocate {
            fh: long(0),
            offset: long(2),
            length: long(4),
            mode: 6,
        };
        assert_eq!(Fallocate::decode(&a), fallocate);
        let copy = CopyFileRange {
            fh_in: long(0),
            offset_in: long(2),
            node_out: long(4),
            fh_out: long(6),
            offset_out: long(8),
            length: long(10),
            flags: long(12),
        };
        assert_eq!(CopyFileRange::decode(&a), copy);
    }

    #[test]
    fn names_and_data() {
        let none = bytes(&[]);
        assert_eq!(read(1, &none, b"name\0"), Ok(Request::Lookup(at(0, 4))));
        // Newer kernels send the end of the name apart.
        assert_eq!(read(1, &none, b"name\0\0"), Ok(Request::Lookup(at(0, 4))));
        let symlink = Request::Symlink(at(0, 3), at(4, 13));
        assert_eq!(read(6, &none, b"new\0../target\0"), Ok(symlink));
        let rename = |flags| Rename2 { parent: 5, flags };
        let plain = bytes(&[5, 0, 9]);
        // What is after the argument means nothing.
        let expected = Request::Rename(rename(0), at(0, 1), at(2, 3));
        assert_eq!(read(12, &plain, b"a\0b\0"), Ok(expected));
        let expected = Request::Rename(rename(9), at(0, 1), at(2, 3));
        assert_eq!(read(45, &plain, b"a\0b\0"), Ok(expected));
        let set = Setxattr { size: 3, flags: 1 };
        let expected = Request::Setxattr(set, at(0, 6), at(7, 10));
        assert_eq!(read(21, &bytes(&[3, 1]), b"user.x\0\0\0v"), Ok(expected));
        let write = bytes(&[1, 0, 0, 0, 4]);
        let Ok(Request::Write(_, data)) = read(16, &write, b"12345") else {
            panic!("no write");
        };
        assert_eq!(data.of(b"12345"), b"1234");
        assert_eq!(data.of(b"123"), b"");
    }

    #[test]
    fn bad_requests_are_refused() {
        let none = bytes(&[]);
        for opcode in [1, 6, 8, 9, 10, 11, 12, 13, 21, 22, 24, 35, 45] {
            assert_eq!(
                read(opcode, &none, b"endless"),
                Err(Errno::EINVAL),
                "{opcode}"
            );
            assert_eq!(read(opcode, &none, b""), Err(Errno::EINVAL), "{opcode}");
        }
        for opcode in [6, 12, 45] {
            assert_eq!(
                read(opcode, &none, b"one\0two"),
                Err(Errno::EINVAL),
                "{opcode}"
            );
        }
        let write = bytes(&[1, 0, 0, 0, 4]);
        assert_eq!(read(16, &write, b"123"), Err(Errno::EINVAL));
        assert_eq!(read(21, &bytes(&[3]), b"x\0ab"), Err(Errno::EINVAL));
        for opcode in [0, 2, 7, 26, 36, 42, 51, 52, 54, u32::MAX] {
            assert_eq!(read(opcode, &none, b"x\0"), Err(Errno::ENOSYS), "{opcode}");
        }
    }
}
