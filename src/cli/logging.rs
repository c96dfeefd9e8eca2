//! Where log lines go: stderr in the foreground, syslog for a daemon. They begin with the name that the program was
//! called by.
//!
//! `PLYFS_LOG` = `error` `warn` (default) `info` `debug` `trace`, or `-d` for `debug`.

use std::io::Write;
use std::os::unix::net::UnixDatagram;

use log::{Level, LevelFilter, Log, Metadata, Record};

use super::remark;

/// Where lines go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sink {
    /// A person or a supervisor reads them.
    Stderr,
    /// The datagram socket of syslog; where there is none, lines are lost.
    Syslog,
}

/// The target of answers.
const ANSWER: &str = "answer";

struct Logger {
    program: &'static str,
    sink: Sink,
}

/// Starts logging. To be called once.
pub fn start(sink: Sink, debug: bool) {
    let asked = std::env::var("PLYFS_LOG").ok();
    let level = level(asked.as_deref(), debug);
    let program = remark::program();
    // For as long as the process lives, as loggers are.
    let logger = Box::leak(Box::new(Logger { program, sink }));
    if log::set_logger(logger).is_ok() {
        log::set_max_level(level);
    }
}

/// What somebody asked for is said at every level.
pub fn answer(text: &str) {
    let args = format_args!("{text}");
    let record = Record::builder()
        .level(Level::Info)
        .target(ANSWER)
        .args(args)
        .build();
    log::logger().log(&record);
}

fn level(asked: Option<&str>, debug: bool) -> LevelFilter {
    match asked.and_then(|text| text.parse().ok()) {
        Some(level) => level,
        None if debug => LevelFilter::Debug,
        None => LevelFilter::Warn,
    }
}

impl Log for Logger {
    /// fuser complains of replies to requests that were given up meanwhile, by a killed caller or an unmount: they
    /// are everyday events, so its lines are for `debug` only.
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        !metadata.target().starts_with("fuser") || log::max_level() >= LevelFilter::Debug
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let text = record.args().to_string().replace('\n', "\\n");
        let sent = match self.sink {
            Sink::Stderr => {
                let line = self.stderr_line(record.level(), record.target(), &text);
                std::io::stderr().write_all(line.as_bytes())
            }
            Sink::Syslog => to_syslog(&self.syslog_line(record.level(), &text)),
        };
        // Nobody listens, and there is no better place to say so.
        drop(sent);
    }

    fn flush(&self) {}
}

impl Logger {
    /// As the command line says its own remarks; where the program is looked into, also from where.
    fn stderr_line(&self, level: Level, target: &str, text: &str) -> String {
        let program = self.program;
        match level {
            Level::Error => format!("{program}: {text}\n"),
            Level::Warn => format!("{program}: warning: {text}\n"),
            _ if target == ANSWER => format!("{program}: {text}\n"),
            _ => format!("{program}: {level} {target}: {text}\n"),
        }
    }

    /// `<facility * 8 + severity>tag[pid]: text`, as syslog(3) sends it, without the time that the receiver knows.
    fn syslog_line(&self, level: Level, text: &str) -> String {
        const DAEMON: u32 = 3;
        let severity = match level {
            Level::Error => 3,
            Level::Warn => 4,
            Level::Info => 6,
            Level::Debug | Level::Trace => 7,
        };
        let (program, pid) = (self.program, std::process::id());
        format!("<{}>{program}[{pid}]: {text}", DAEMON * 8 + severity)
    }
}

fn to_syslog(line: &str) -> std::io::Result<()> {
    let socket = UnixDatagram::unbound()?;
    // A full queue must not stop the filesystem.
    socket.set_nonblocking(true)?;
    socket.send_to(line.as_bytes(), "/dev/log")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_decides_then_the_flag() {
        assert_eq!(level(None, false), LevelFilter::Warn);
        assert_eq!(level(None, true), LevelFilter::Debug);
        assert_eq!(level(Some("trace"), true), LevelFilter::Trace);
        assert_eq!(level(Some("nonsense"), false), LevelFilter::Warn);
        assert_eq!(level(Some("off"), true), LevelFilter::Off);
    }

    #[test]
    fn syslog_lines_have_their_priority() {
        let line = logger().syslog_line(Level::Warn, "x");
        assert_eq!(line, format!("<28>plynet[{}]: x", std::process::id()));
    }

    #[test]
    fn people_read_remarks() {
        let line = |level| logger().stderr_line(level, "plyfs::net", "x");
        assert_eq!(line(Level::Error), "plynet: x\n");
        assert_eq!(line(Level::Warn), "plynet: warning: x\n");
        assert_eq!(line(Level::Info), "plynet: INFO plyfs::net: x\n");
        let answer = logger().stderr_line(Level::Info, ANSWER, "x");
        assert_eq!(answer, "plynet: x\n");
    }

    fn logger() -> Logger {
        Logger {
            program: "plynet",
            sink: Sink::Stderr,
        }
    }
}
