//! The languages in which container engines ask for a network. PURE: JSON in, words of plynet out, and back; reading,
//! running and printing is done by the command line.
//!
//! | file | whose |
//! |---|---|
//! | [`cni`] | the Container Network Interface, 0.4.0 to 1.1.0 |
//! | [`netavark`] | podman's, in place of its program `netavark` |

pub mod cni;
pub mod netavark;

use crate::net::name;

/// A name for a container: the first of these that can be one in DNS, else the start of its id.
fn container_name(wanted: &[Option<&str>], id: &str) -> String {
    let good = |word: &&str| name::check("container", word).is_ok();
    let named = wanted.iter().flatten().copied().find(good);
    let short = || id.get(..12).unwrap_or(id);
    named.unwrap_or_else(short).to_string()
}

/// Those that can be names in DNS; an engine may let its users choose others.
fn usable_aliases(aliases: &[String]) -> Vec<String> {
    let good = |word: &&String| name::check("alias", word).is_ok();
    aliases.iter().filter(good).cloned().collect()
}

/// A name for a bridge of a network of this name that has none.
fn bridge_name(network: &str) -> String {
    use sha2::Digest;
    let short = format!("ply-{network}");
    if name::check_interface("bridge", &short).is_ok() {
        return short;
    }
    let digest = sha2::Sha256::digest(network.as_bytes());
    let hex: String = digest
        .iter()
        .take(5)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("ply-{hex}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_fit() {
        let id = "0123456789abcdef";
        assert_eq!(container_name(&[None, Some("web"), Some("api")], id), "web");
        assert_eq!(container_name(&[Some("not a name")], id), "0123456789ab");
        assert_eq!(container_name(&[], "short"), "short");
        assert_eq!(bridge_name("blue"), "ply-blue");
        let long = bridge_name("a-network-with-a-long-name");
        assert!(long.len() <= 15 && long.starts_with("ply-"), "{long}");
        assert_ne!(long, bridge_name("a-network-with-a-long-namf"));
        assert_eq!(usable_aliases(&["a".into(), "b/c".into()]), ["a"]);
    }
}
