//! The environment of a call.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::failure::{ENVIRONMENT, Failure};
use crate::net::name;

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Attach.
    Add,
    /// Detach.
    Del,
    /// Is all there?
    Check,
    /// Can ADD be served?
    Status,
    /// Detach all that is not named.
    Gc,
    /// Which versions are spoken?
    Version,
}

/// A call.
#[derive(Debug)]
pub struct Call {
    /// What is to be done.
    pub command: Command,
    /// Whose network; empty where nobody's.
    pub container: String,
    /// The namespace; empty at the end of its life.
    pub netns: PathBuf,
    /// The container's interface; empty where nobody's.
    pub interface: String,
    /// `CNI_ARGS`.
    pub args: BTreeMap<String, String>,
    /// Where other plugins are.
    pub path: Vec<PathBuf>,
}

impl Call {
    /// Reads the environment.
    ///
    /// # Errors
    /// What is missing or makes no sense.
    pub fn from_environment(get: impl Fn(&str) -> Option<String>) -> Result<Call, Failure> {
        let bad = |words: String| Failure::new(ENVIRONMENT, words);
        let word = get("CNI_COMMAND").unwrap_or_default();
        let command = match word.as_str() {
            "ADD" => Command::Add,
            "DEL" => Command::Del,
            "CHECK" => Command::Check,
            "STATUS" => Command::Status,
            "GC" => Command::Gc,
            "VERSION" => Command::Version,
            _ => {
                return Err(bad(format!(
                    "CNI_COMMAND \"{}\" is not known",
                    word.escape_debug()
                )));
            }
        };
        let of_container = matches!(command, Command::Add | Command::Del | Command::Check);
        let given = |name: &str, needed: bool| match get(name) {
            Some(value) if !value.is_empty() => Ok(value),
            _ if needed => Err(bad(format!("{name} is not set"))),
            _ => Ok(String::new()),
        };
        let call = Call {
            command,
            container: given("CNI_CONTAINERID", of_container)?,
            netns: given("CNI_NETNS", of_container && command != Command::Del)?.into(),
            interface: given("CNI_IFNAME", of_container)?,
            args: pairs(&get("CNI_ARGS").unwrap_or_default()).map_err(bad)?,
            path: get("CNI_PATH")
                .iter()
                .flat_map(std::env::split_paths)
                .collect(),
        };
        if of_container {
            let checked = name::check_id("CNI_CONTAINERID", &call.container);
            checked.map_err(|error| bad(error.to_string()))?;
            let checked = name::check_interface("CNI_IFNAME", &call.interface);
            checked.map_err(|error| bad(error.to_string()))?;
        }
        Ok(call)
    }
}

/// `K=V;K=V`
fn pairs(text: &str) -> Result<BTreeMap<String, String>, String> {
    let words = text.split(';').filter(|word| !word.is_empty());
    let pair = |word: &str| match word.split_once('=') {
        Some((key, value)) => Ok((key.to_string(), value.to_string())),
        None => Err(format!(
            "CNI_ARGS: \"{}\" is no KEY=VALUE",
            word.escape_debug()
        )),
    };
    words.map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(variables: &[(&str, &str)]) -> Result<Call, String> {
        let all: BTreeMap<_, _> = variables.iter().copied().collect();
        let get = |name: &str| all.get(name).map(|value| value.to_string());
        Call::from_environment(get).map_err(|failure| {
            assert_eq!(failure.code, ENVIRONMENT);
            failure.words
        })
    }

    #[test]
    fn each_command_has_what_it_needs() {
        let id = ("CNI_CONTAINERID", "c1");
        let ifname = ("CNI_IFNAME", "eth0");
        let netns = ("CNI_NETNS", "/run/netns/x");
        let add = call(&[
            ("CNI_COMMAND", "ADD"),
            id,
            ifname,
            netns,
            ("CNI_ARGS", "IgnoreUnknown=1;K8S_POD_NAME=web;"),
            ("CNI_PATH", "/a:/b"),
        ])
        .unwrap();
        assert_eq!(
            (add.command, add.args["K8S_POD_NAME"].as_str()),
            (Command::Add, "web")
        );
        assert_eq!(add.path, ["/a", "/b"].map(PathBuf::from));
        assert!(call(&[("CNI_COMMAND", "DEL"), id, ifname]).is_ok());
        for alone in ["VERSION", "STATUS", "GC"] {
            assert!(call(&[("CNI_COMMAND", alone)]).is_ok());
        }
        let refused = |variables: &[_]| call(variables).unwrap_err();
        assert_eq!(
            refused(&[("CNI_COMMAND", "ADD"), ifname, netns]),
            "CNI_CONTAINERID is not set"
        );
        assert_eq!(
            refused(&[("CNI_COMMAND", "ADD"), id, ifname]),
            "CNI_NETNS is not set"
        );
        assert_eq!(
            refused(&[("CNI_COMMAND", "DEL"), id]),
            "CNI_IFNAME is not set"
        );
        assert!(refused(&[("CNI_COMMAND", "add")]).contains("\"add\" is not known"));
        assert!(
            refused(&[("CNI_COMMAND", "DEL"), ("CNI_CONTAINERID", "../x"), ifname])
                .contains("CNI_CONTAINERID")
        );
        assert!(
            refused(&[("CNI_COMMAND", "DEL"), id, ("CNI_IFNAME", "a/b")]).contains("CNI_IFNAME")
        );
        assert!(refused(&[("CNI_COMMAND", "GC"), ("CNI_ARGS", "x")]).contains("CNI_ARGS"));
    }
}
