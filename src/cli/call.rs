//! Which of the ways to call this program is it, and what was asked for?
//!
//! | called as | meaning |
//! |---|---|
//! | `plyfs mount`, `umount`, `run`, `--version`, `--help` | native: clap, strict |
//! | `plyfs store ...` and the other nouns of the store, or a flag of theirs first | the same, see `store::args` |
//! | `plyfs [SOURCE] TARGET -o OPTS`, `plyfs -o OPTS TARGET` | mount program of an engine: compatible |
//! | `fuse-overlayfs ...` | the same by name |
//! | `mount.plyfs SOURCE TARGET -o OPTS` | helper of mount(8): native options, flags of mount helpers |

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use clap::{Args, CommandFactory, Parser, Subcommand};

use super::failure::Failure;
use super::store::args::{StoreOrder, is_ours};
use crate::overlay::options::Mode;

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The nouns of the store have flags and a help of their own.
const STORE_HELP: &str = "The store of layers (see `plyfs NOUN --help`):
  store      The store as a whole
  layer      Sealed trees
  container  Trees that change
  image      Lists of layers with a configuration
  snapshot   Trees by their keys, as containerd knows them";

/// Options that trade something for speed; all others are in the manual.
const MOUNT_HELP: &str = "Some of the options (all: docs/semantics.md):\n  \
                          volatile                 never wait for the disk\n  \
                          noopen=on|off|auto       opens are not told; the first change copies up\n  \
                          rings=on|off|auto        requests come by FUSE over io_uring\n  \
                          lower_passthrough=on     share the page cache of lower files with other mounts\n  \
                          metacopy=on              changes of metadata copy no data\n  \
                          timeout=SECONDS          layers that others change";

/// What was asked for.
#[derive(Debug, PartialEq, Eq)]
pub enum Call {
    /// Say this and end with this code.
    Print {
        /// What to say.
        text: String,
        /// Exit code.
        code: u8,
    },
    /// Mount.
    Mount(MountOrder),
    /// Unmount.
    Unmount(UnmountOrder),
    /// Run a command in an ephemeral view.
    Run(RunOrder),
    /// Something about the store.
    Store(Box<StoreOrder>),
}

/// A mount that was asked for.
#[derive(Debug, PartialEq, Eq)]
pub struct MountOrder {
    /// How strict to be.
    pub mode: Mode,
    /// First column of the mount table.
    pub source: OsString,
    /// The mount point, as written.
    pub target: PathBuf,
    /// Values of all `-o`.
    pub options: Vec<OsString>,
    /// Stay in the foreground.
    pub foreground: bool,
    /// Log everything.
    pub debug: bool,
    /// Check all there is to check, then end without mounting (`mount -f`).
    pub dry_run: bool,
}

/// `plyfs umount`
#[derive(Debug, PartialEq, Eq, Args)]
pub struct UnmountOrder {
    /// Take it out of the tree now; it ends when its last user does
    #[arg(short = 'l', long)]
    pub lazy: bool,
    /// The mount point
    #[arg(value_name = "MERGED")]
    pub target: PathBuf,
}

/// `plyfs run`
#[derive(Debug, PartialEq, Eq, Args)]
pub struct RunOrder {
    /// A layer to look through; the first one given is on top
    #[arg(long, value_name = "DIR", required = true)]
    pub lower: Vec<PathBuf>,
    /// Keep the changes here instead of throwing them away
    #[arg(long, value_name = "DIR", requires = "work")]
    pub upper: Option<PathBuf>,
    /// Where changes to --upper are prepared; on the same filesystem
    #[arg(long, value_name = "DIR", requires = "upper")]
    pub work: Option<PathBuf>,
    /// Make the view the root directory of the command
    #[arg(long)]
    pub chroot: bool,
    /// More options, as for `plyfs mount`
    #[arg(short = 'o', value_name = "OPTS", allow_hyphen_values = true)]
    pub options: Vec<OsString>,
    /// The command; a shell if there is none
    #[arg(
        value_name = "CMD",
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    pub command: Vec<OsString>,
}

/// Merged views of layers, as Linux overlayfs makes them, in userspace.
#[derive(Debug, Parser)]
#[command(name = "plyfs", version, disable_help_subcommand = true, after_help = STORE_HELP)]
struct Cli {
    #[command(subcommand)]
    command: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Mount a merged view
    Mount(MountArgs),
    /// Unmount a merged view and wait for its end
    #[command(alias = "unmount")]
    Umount(UnmountOrder),
    /// Run a command in an ephemeral view and say what it changed
    Run(RunOrder),
}

#[derive(Debug, Args)]
#[command(after_help = MOUNT_HELP)]
struct MountArgs {
    /// lowerdir=A:B:C,upperdir=U,workdir=W and more; may be repeated
    #[arg(short = 'o', value_name = "OPTS", allow_hyphen_values = true)]
    options: Vec<OsString>,
    /// Stay in the foreground
    #[arg(short = 'f', long)]
    foreground: bool,
    /// Log in detail; implies -f
    #[arg(short = 'd', long)]
    debug: bool,
    /// [SOURCE] MERGED: where to mount; SOURCE is only shown in the mount table
    #[arg(value_name = "MERGED", required = true, num_args = 1..=2)]
    places: Vec<OsString>,
}

const VERBS: [&str; 4] = ["mount", "umount", "unmount", "run"];

/// Understands the command line; `args` has the program's own name first.
///
/// # Errors
/// Usage: one line, code 2 (1 where an engine calls, as fuse-overlayfs does).
pub fn parse(args: Vec<OsString>) -> Result<Call, Failure> {
    let name = args.first().map(|arg| Path::new(arg).file_name());
    let name = name.flatten().unwrap_or_default().to_os_string();
    let rest = args.get(1..).unwrap_or_default();
    if name == "fuse-overlayfs" {
        return Loose::read(Style::Engine, rest);
    }
    if name.as_bytes().starts_with(b"mount.") {
        return Loose::read(Style::Helper, rest);
    }
    let first = rest.first().map(OsString::as_os_str).unwrap_or_default();
    let native = VERBS.iter().any(|verb| first == *verb)
        || ["--version", "-V", "--help", "-h", ""]
            .iter()
            .any(|flag| first == *flag);
    if is_ours(rest) {
        let order = StoreOrder::try_parse_from(&args);
        explained(order).map(|order| match order {
            Ok(order) => Call::Store(Box::new(order)),
            Err(print) => print,
        })
    } else if native {
        strict(&args)
    } else {
        Loose::read(Style::Unnamed, rest)
    }
}

fn strict(args: &[OsString]) -> Result<Call, Failure> {
    if args.len() < 2 {
        let text = Cli::command().render_help().to_string();
        let text = text.trim_end().to_string();
        return Ok(Call::Print { text, code: 2 });
    }
    let cli = explained(Cli::try_parse_from(args))?;
    Ok(match cli {
        Ok(cli) => match cli.command {
            Verb::Mount(args) => Call::Mount(MountOrder::from(args)),
            Verb::Umount(order) => Call::Unmount(order),
            Verb::Run(order) => Call::Run(order),
        },
        Err(print) => print,
    })
}

/// What clap makes of the arguments; the inner error is a text that was asked for.
fn explained<T>(parsed: Result<T, clap::Error>) -> Result<Result<T, Call>, Failure> {
    match parsed {
        Ok(parsed) => Ok(Ok(parsed)),
        Err(error) if error.exit_code() == 0 => Ok(Err(Call::Print {
            text: error.render().to_string().trim_end().to_string(),
            code: 0,
        })),
        Err(error) => {
            // clap explains in paragraphs; the first says what is wrong.
            let text = error.render().to_string();
            let first = text.split("\n\n").next().unwrap_or_default();
            let words: Vec<&str> = first.split_whitespace().collect();
            let line = words.join(" ");
            let line = line.trim_start_matches("error: ");
            Err(Failure::usage(format!("{line} (see plyfs --help)")))
        }
    }
}

impl From<MountArgs> for MountOrder {
    fn from(args: MountArgs) -> MountOrder {
        let mut places = args.places;
        let target = places.pop().unwrap_or_default();
        MountOrder {
            mode: Mode::Native,
            source: places.pop().unwrap_or_else(|| "plyfs".into()),
            target: target.into(),
            options: args.options,
            foreground: args.foreground || args.debug,
            debug: args.debug,
            dry_run: false,
        }
    }
}

/// Whose habits to follow when reading a command line without subcommand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    /// Under the name fuse-overlayfs.
    Engine,
    /// Under our name, without a subcommand: as `Engine`.
    Unnamed,
    /// mount.plyfs, called by mount(8): `-f` means fake, `-s` sloppy.
    Helper,
}

/// A command line in the manner of mount helpers: flags and places in any order.
struct Loose {
    style: Style,
    order: MountOrder,
    places: Vec<OsString>,
}

impl Loose {
    fn read(style: Style, args: &[OsString]) -> Result<Call, Failure> {
        let mode = match style {
            Style::Helper => Mode::Native,
            Style::Engine | Style::Unnamed => Mode::Compatible,
        };
        let order = MountOrder {
            mode,
            source: "plyfs".into(),
            target: PathBuf::new(),
            options: Vec::new(),
            foreground: false,
            debug: false,
            dry_run: false,
        };
        let mut loose = Loose {
            style,
            order,
            places: Vec::new(),
        };
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            if let Some(text) = loose.take(arg, &mut args)? {
                return Ok(Call::Print { text, code: 0 });
            }
        }
        loose.finish().map(Call::Mount)
    }

    /// Takes one argument (and its value). Some text: print it and end.
    fn take(
        &mut self,
        arg: &OsStr,
        more: &mut std::slice::Iter<'_, OsString>,
    ) -> Result<Option<String>, Failure> {
        let bytes = arg.as_bytes();
        match bytes {
            b"--version" | b"-V" => return Ok(Some(self.version())),
            b"--help" | b"-h" => return Ok(Some(self.help())),
            b"--debug" => self.debug(),
            b"--foreground" => self.order.foreground = true,
            b"--" => self.places.extend(more.by_ref().cloned()),
            [b'-', b'-', ..] => return Err(self.usage(&format!("unknown flag {}", arg.display()))),
            [b'-', letters @ ..] if !letters.is_empty() => self.letters(letters, more)?,
            _ => self.places.push(arg.to_os_string()),
        }
        Ok(None)
    }

    /// `-f`, `-fd`, `-o a,b`, `-oa,b`.
    fn letters(
        &mut self,
        letters: &[u8],
        more: &mut std::slice::Iter<'_, OsString>,
    ) -> Result<(), Failure> {
        for (i, letter) in letters.iter().enumerate() {
            match (self.style, letter) {
                (_, b'o' | b't' | b'N') => {
                    let inside = &letters[i + 1..];
                    let value = match (inside, more.as_slice()) {
                        ([], []) => {
                            let flag = char::from(*letter);
                            return Err(self.usage(&format!("-{flag} needs a value")));
                        }
                        ([], _) => more.next().cloned().unwrap_or_default(),
                        _ => OsString::from_vec(inside.to_vec()),
                    };
                    // The type and the namespace of mount(8) are known by being called.
                    if *letter == b'o' {
                        self.order.options.push(value);
                    }
                    return Ok(());
                }
                (Style::Helper, b'f') => self.order.dry_run = true,
                (Style::Helper, b's') => self.order.mode = Mode::Compatible,
                (Style::Helper, b'n' | b'v') => {}
                (_, b'f') => self.order.foreground = true,
                (_, b'd') => self.debug(),
                // Single-threaded, for libfuse; nothing here depends on it.
                (_, b's') => {}
                _ => {
                    let flag = char::from(*letter).escape_debug();
                    return Err(self.usage(&format!("unknown flag -{flag}")));
                }
            }
        }
        Ok(())
    }

    fn debug(&mut self) {
        self.order.debug = true;
        self.order.foreground = true;
    }

    fn finish(mut self) -> Result<MountOrder, Failure> {
        let first = self.places.first().map(|place| place.display().to_string());
        let Some(target) = self.places.pop() else {
            return Err(self.usage("no mount point given"));
        };
        if let (Style::Unnamed, [], Some(first)) = (self.style, &*self.order.options, first) {
            let what = format!("{first} is no subcommand, and no -o was given");
            return Err(self.usage(&what));
        }
        if let Some(source) = self.places.pop() {
            self.order.source = source;
        }
        if let Some(third) = self.places.pop() {
            return Err(self.usage(&format!("too many arguments: {}", third.display())));
        }
        self.order.target = target.into();
        Ok(self.order)
    }

    fn usage(&self, what: &str) -> Failure {
        match self.style {
            // What engines know from fuse-overlayfs.
            Style::Engine => Failure::failed(what),
            Style::Unnamed => Failure::usage(format!("{what} (see plyfs --help)")),
            Style::Helper => Failure::failed(format!("{what} (see mount(8))")),
        }
    }

    fn version(&self) -> String {
        match self.style {
            Style::Engine => format!("fuse-overlayfs: version {VERSION}\nplyfs {VERSION}"),
            _ => format!("plyfs {VERSION}"),
        }
    }

    fn help(&self) -> String {
        let name = match self.style {
            Style::Engine => "fuse-overlayfs",
            Style::Unnamed => "plyfs",
            Style::Helper => "mount.plyfs",
        };
        format!(
            "usage: {name} [SOURCE] TARGET [-f] [-d] -o lowerdir=A:B[,upperdir=U,workdir=W][,...]"
        )
    }
}

#[cfg(test)]
mod tests;
