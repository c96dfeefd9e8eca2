//! Where log lines go: stderr in the foreground, syslog for a daemon.
//!
//! `PLYFS_LOG` = `error` `warn` (default) `info` `debug` `trace`, or `-d` for `debug`.

use std::io::Write;
use std::os::unix::net::UnixDatagram;

use log::{Level, LevelFilter, Log, Metadata, Record};

/// Where lines go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sink {
    /// A person or a supervisor reads them.
    Stderr,
    /// The datagram socket of syslog; where there is none, lines are lost.
    Syslog,
}

struct Logger(Sink);

/// Starts logging. To be called once, after a daemon has been forked.
pub fn start(sink: Sink, debug: bool) {
    let asked = std::env::var("PLYFS_LOG").ok();
    let level = level(asked.as_deref(), debug);
    let logger: &'static Logger = match sink {
        Sink::Stderr => &Logger(Sink::Stderr),
        Sink::Syslog => &Logger(Sink::Syslog),
    };
    if log::set_logger(logger).is_ok() {
        log::set_max_level(level);
    }
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
        let sent = match self.0 {
            Sink::Stderr => {
                let line = format!("plyfs: {} {}: {text}\n", record.level(), record.target());
                std::io::stderr().write_all(line.as_bytes())
            }
            Sink::Syslog => to_syslog(record.level(), &text),
        };
        // Nobody listens, and there is no better place to say so.
        drop(sent);
    }

    fn flush(&self) {}
}

fn to_syslog(level: Level, text: &str) -> std::io::Result<()> {
    let socket = UnixDatagram::unbound()?;
    // A full queue must not stop the filesystem.
    socket.set_nonblocking(true)?;
    socket.send_to(syslog_line(level, text).as_bytes(), "/dev/log")?;
    Ok(())
}

/// `<facility * 8 + severity>tag[pid]: text`, as syslog(3) sends it, without the time that the receiver knows.
fn syslog_line(level: Level, text: &str) -> String {
    const DAEMON: u32 = 3;
    let severity = match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    };
    let pid = std::process::id();
    format!("<{}>plyfs[{pid}]: {text}", DAEMON * 8 + severity)
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
        let line = syslog_line(Level::Warn, "x");
        assert_eq!(line, format!("<28>plyfs[{}]: x", std::process::id()));
    }
}
