//! Messages in a stream: each after its length in two bytes (RFC 1035 §4.2.2). Never waits, never reads more than the
//! message it is at, so what follows stays in the kernel until its turn.

use std::io::{self, ErrorKind, Read, Write};

/// Bytes of a length.
const LENGTH: usize = 2;

/// A message that is coming in.
#[derive(Debug)]
pub struct Incoming {
    bytes: Vec<u8>,
    most: usize,
}

/// What a read came to.
#[derive(Debug, PartialEq, Eq)]
pub enum Progress {
    /// More has to come.
    Pending,
    /// The message is whole.
    Message(Vec<u8>),
    /// There is nothing more to hope for.
    End,
}

impl Incoming {
    /// A message of at most `most` bytes; a longer one ends the stream.
    pub fn new(most: usize) -> Incoming {
        Incoming {
            bytes: Vec::new(),
            most,
        }
    }

    /// Reads what is there.
    pub fn read_from(&mut self, stream: &mut impl Read) -> Progress {
        loop {
            let target = match self.bytes.first_chunk::<LENGTH>() {
                None => LENGTH,
                Some(length) => match usize::from(u16::from_be_bytes(*length)) {
                    length if length == 0 || length > self.most => return Progress::End,
                    length => LENGTH + length,
                },
            };
            let filled = self.bytes.len();
            if filled == target && target > LENGTH {
                return Progress::Message(self.bytes.split_off(LENGTH));
            }
            self.bytes.resize(target, 0);
            let read = stream.read(&mut self.bytes[filled..]);
            self.bytes
                .truncate(filled + read.as_ref().copied().unwrap_or(0));
            match read {
                Ok(0) => return Progress::End,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Progress::Pending,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Progress::End,
            }
        }
    }
}

/// A message that is going out.
#[derive(Debug)]
pub struct Outgoing {
    bytes: Vec<u8>,
    written: usize,
}

impl Outgoing {
    /// A message of at most 65535 bytes; what is longer is cut.
    pub fn new(message: &[u8]) -> Outgoing {
        let length = u16::try_from(message.len()).unwrap_or(u16::MAX);
        let mut bytes = length.to_be_bytes().to_vec();
        bytes.extend_from_slice(&message[..usize::from(length)]);
        Outgoing { bytes, written: 0 }
    }

    /// Writes what there is room for; true when all is written.
    ///
    /// # Errors
    /// As write(2) says.
    pub fn write_to(&mut self, stream: &mut impl Write) -> io::Result<bool> {
        while self.written < self.bytes.len() {
            match stream.write(&self.bytes[self.written..]) {
                Ok(n) => self.written += n,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives a byte at a time, and nothing in between.
    struct Trickle<'a>(&'a [u8], bool);

    impl Read for Trickle<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.1 = !self.1;
            if self.1 {
                return Err(ErrorKind::WouldBlock.into());
            }
            self.0.read(&mut buffer[..1])
        }
    }

    #[test]
    fn messages_come_in_pieces_and_one_by_one() {
        let mut stream = Vec::new();
        for message in [&b"first"[..], b"second"] {
            assert!(Outgoing::new(message).write_to(&mut stream).unwrap());
        }
        let mut trickle = Trickle(&stream, false);
        let mut next = || {
            let mut incoming = Incoming::new(100);
            loop {
                match incoming.read_from(&mut trickle) {
                    Progress::Pending => {}
                    other => return other,
                }
            }
        };
        assert_eq!(next(), Progress::Message(b"first".to_vec()));
        assert_eq!(next(), Progress::Message(b"second".to_vec()));
        assert_eq!(next(), Progress::End);
    }

    #[test]
    fn no_length_and_too_much_of_it_end_the_stream() {
        for bytes in [&b"\0\0rest"[..], b"\x01\0rest"] {
            assert_eq!(Incoming::new(255).read_from(&mut &bytes[..]), Progress::End);
        }
    }
}
