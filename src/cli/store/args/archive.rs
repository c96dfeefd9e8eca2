//! The words of images and archives.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

/// Where an image may be.
const PLACES: &str =
    "oci:DIR[:TAG], oci-archive:FILE[:TAG], docker-archive:FILE[:NAME], tar:FILE or dir:DIR";

/// `plyfs image ...`
#[derive(Debug, PartialEq, Eq, Subcommand)]
pub enum ImageVerb {
    /// Take an image in; print its id
    Import {
        /// Where it is
        #[arg(help = PLACES)]
        from: String,
        /// Its name, instead of those it comes with
        #[arg(long)]
        name: Option<String>,
        /// How to unpack
        #[command(flatten)]
        unpack: UnpackArgs,
    },
    /// Write an image, or a layer with all below it as one
    Export {
        /// Id, beginning of an id, or name
        image: String,
        /// Where to
        #[arg(help = PLACES)]
        to: String,
        /// How to pack layers; as they came if not given, else gzip
        #[arg(long, value_enum)]
        compress: Option<CompressWord>,
    },
    /// List all images
    Ls,
    /// Say everything about an image, in JSON
    Inspect {
        /// Id, beginning of an id, or name
        image: String,
    },
    /// Give an image a name; a name of another image moves
    Tag {
        /// Id, beginning of an id, or name
        image: String,
        /// The name
        name: String,
    },
    /// Remove images with their layers, as far as nothing else needs these; one of several names only as a name
    Rm {
        /// Only say what would be removed
        #[arg(long)]
        dry_run: bool,
        /// Ids, beginnings of ids, or names
        #[arg(required = true, value_name = "IMAGE")]
        images: Vec<String>,
    },
}

/// `--compress`
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum CompressWord {
    /// Plain tar
    None,
    /// gzip
    Gzip,
    /// zstd
    Zstd,
}

/// How an archive is unpacked.
#[derive(Debug, PartialEq, Eq, Args)]
pub struct UnpackArgs {
    /// Refuse what unpacks to more bytes than this; K, M, G and T are understood
    #[arg(long, value_name = "BYTES", default_value = "64G", value_parser = parse_bytes)]
    pub max_unpacked: u64,
    /// Refuse archives with more entries
    #[arg(long, value_name = "COUNT", default_value_t = 10_000_000)]
    pub max_entries: u64,
    /// What to do with a device node where none can be made
    #[arg(long, value_enum, default_value = "record")]
    pub devices: DevicesWord,
    /// What to do with an extended attribute that cannot be set
    #[arg(long, value_enum, default_value = "lenient")]
    pub xattrs: XattrsWord,
}

/// `--devices`
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DevicesWord {
    /// Keep it in an attribute of an empty file
    Record,
    /// Leave it out
    Skip,
    /// Refuse the archive
    Error,
}

/// `--xattrs`
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum XattrsWord {
    /// Say so
    Lenient,
    /// Refuse the archive
    Strict,
}

/// `plyfs layer|container diff`
#[derive(Debug, PartialEq, Eq, Args)]
pub struct DiffArgs {
    /// Id, beginning of an id, or name
    pub object: String,
    /// Compare with this layer or container instead of what it stands on
    #[arg(long, value_name = "OBJECT")]
    pub base: Option<String>,
    /// Where to write to; standard output if not given
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// `plyfs layer|container changes`
#[derive(Debug, PartialEq, Eq, Args)]
pub struct ChangesArgs {
    /// Id, beginning of an id, or name
    pub object: String,
    /// Compare with this layer or container instead of what it stands on
    #[arg(long, value_name = "OBJECT")]
    pub base: Option<String>,
}

/// A count of bytes, with a unit of 1024 or none.
pub(super) fn parse_bytes(text: &str) -> Result<u64, String> {
    let wrong = || "a number of bytes is wanted, as 500M or 64G".to_string();
    let (digits, shift) = match text.char_indices().last() {
        Some((i, unit)) if unit.is_ascii_alphabetic() => {
            let unit = "KMGT".find(unit.to_ascii_uppercase());
            (&text[..i], 10 * (unit.ok_or_else(wrong)? + 1))
        }
        _ => (text, 0),
    };
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    number.checked_mul(1 << shift).ok_or_else(wrong)
}
