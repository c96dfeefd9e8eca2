//! Files with holes, as GNU tar writes them with `-S`: the archive has only the stretches that hold data, and a map of
//! where they belong. There are four forms of it, and no standard.
//!
//! | form | where the map is |
//! |---|---|
//! | type `S` | in the header block, and in blocks that follow it |
//! | PAX 0.0 | in records `GNU.sparse.offset` and `GNU.sparse.numbytes`, by turns |
//! | PAX 0.1 | in one record `GNU.sparse.map` |
//! | PAX 1.0 | in front of the data, as lines of digits |

use super::header::corrupt;
use crate::store::error::Result;

/// Most stretches of one file.
const STRETCHES_MAX: usize = 1 << 20;

/// No number of a map has more digits.
pub const DIGITS_MAX: usize = 20;

/// So many bytes of data in a file; the rest of it are holes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// Where they begin.
    pub offset: u64,
    /// How many they are.
    pub len: u64,
}

/// A file with holes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sparse {
    /// Its size, holes included.
    pub size: u64,
    /// Its data, in order.
    pub stretches: Vec<Stretch>,
}

impl Sparse {
    /// A file of `size` bytes, of which `packed` are in the archive.
    ///
    /// # Errors
    /// [`crate::store::error::Kind::Corrupt`] for stretches that overlap, lead too far, or are not what is packed.
    pub fn new(size: u64, numbers: &[u64], packed: u64) -> Result<Sparse> {
        let (pairs, []) = numbers.as_chunks::<2>() else {
            return Err(corrupt("half a stretch in the map of a sparse file"));
        };
        let (mut end, mut sum) = (0, 0_u64);
        let mut stretches = Vec::with_capacity(pairs.len());
        for &[offset, len] in pairs {
            let next = offset.checked_add(len).filter(|next| *next <= size);
            let next = next.filter(|_| offset >= end);
            end = next.ok_or_else(|| corrupt("the map of a sparse file makes no sense"))?;
            // Bounded by the size, as they do not overlap.
            sum += len;
            if len > 0 {
                stretches.push(Stretch { offset, len });
            }
        }
        if sum != packed {
            let text = format!("a sparse file of {packed} bytes with {sum} bytes in its map");
            return Err(corrupt(text));
        }
        Ok(Sparse { size, stretches })
    }
}

/// Adds a number to a map that is being read.
///
/// # Errors
/// [`crate::store::error::Kind::Corrupt`] when it has too many.
pub fn push(numbers: &mut Vec<u64>, number: u64) -> Result<()> {
    if numbers.len() >= 2 * STRETCHES_MAX {
        let text = format!("a sparse file of more than {STRETCHES_MAX} stretches");
        return Err(corrupt(text));
    }
    numbers.push(number);
    Ok(())
}

/// What PAX records say of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Records {
    /// The file's own name; the other one is of its archived form.
    pub name: Option<Vec<u8>>,
    /// Its size, holes included.
    pub size: Option<u64>,
    /// The map, if it is here.
    pub numbers: Vec<u64>,
    /// The map is in front of the data.
    pub map_is_data: bool,
}

impl Records {
    /// One record `GNU.sparse.KEY`.
    ///
    /// # Errors
    /// [`crate::store::error::Kind::Corrupt`] for malformed ones.
    pub fn take(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        match key {
            b"name" => self.name = Some(value.to_vec()),
            b"size" | b"realsize" => self.size = Some(number(value)?),
            b"major" => self.map_is_data = number(value)? == 1,
            b"offset" | b"numbytes" => push(&mut self.numbers, number(value)?)?,
            b"map" => {
                self.numbers.clear();
                for text in value.split(|b| *b == b',').filter(|text| !text.is_empty()) {
                    push(&mut self.numbers, number(text)?)?;
                }
            }
            // `numblocks` is the length of the map, `minor` is 0 where `major` is 1.
            _ => {}
        }
        Ok(())
    }
}

/// Digits and nothing else.
///
/// # Errors
/// [`crate::store::error::Kind::Corrupt`].
pub fn number(text: &[u8]) -> Result<u64> {
    let digits = text.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(text).ok().filter(|_| digits);
    // What the system can say of a file is signed.
    let number: Option<i64> = text.and_then(|text| text.parse().ok());
    number
        .and_then(|number| u64::try_from(number).ok())
        .ok_or_else(|| corrupt("a number in the map of a sparse file is none"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_that_make_sense_and_others() {
        let stretch = |offset, len| Stretch { offset, len };
        let sparse = Sparse::new(100, &[0, 10, 50, 5, 100, 0], 15).unwrap();
        assert_eq!(sparse.stretches, [stretch(0, 10), stretch(50, 5)]);
        assert_eq!(Sparse::new(9, &[], 0).unwrap().stretches, []);
        for (size, numbers, packed) in [
            (100, &[0, 10, 5, 5][..], 15),
            (100, &[90, 11], 11),
            (100, &[0, 10], 9),
            (100, &[0], 0),
            (100, &[u64::MAX, 2], 2),
        ] {
            assert!(Sparse::new(size, numbers, packed).is_err(), "{numbers:?}");
        }
        let mut records = Records::default();
        records.take(b"map", b"0,10,50,5").unwrap();
        assert_eq!(records.numbers, [0, 10, 50, 5]);
        for bad in [&b"1,x"[..], b"-1,2", b"99999999999999999999,1", b"+1,1"] {
            assert!(records.take(b"map", bad).is_err());
        }
    }
}
