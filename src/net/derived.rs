//! Names and addresses that derive from others, so that they can be found again without being looked up.

use std::net::IpAddr;

use sha2::{Digest, Sha256};

use super::intent::{Key, Mac};

/// The host's end of an attachment: `veth` and eleven hexadecimal digits.
pub fn host_interface(key: &Key) -> String {
    let digest = Sha256::digest(format!("{}/{}", key.network, key.file_name()));
    let digits: String = digest
        .iter()
        .take(6)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("veth{}", &digits[..11])
}

/// An Ethernet address for a bridge of this name: locally administered, of one station.
pub fn mac(name: &str) -> [u8; 6] {
    let digest = Sha256::digest(name);
    [0x02, 0x50, digest[0], digest[1], digest[2], digest[3]]
}

/// An Ethernet address for a container with this address: its last four bytes are the address's.
pub fn mac_of(ip: IpAddr) -> Mac {
    let [a, b, c, d] = match ip {
        IpAddr::V4(ip) => ip.octets(),
        IpAddr::V6(ip) => {
            let [.., a, b, c, d] = ip.octets();
            [a, b, c, d]
        }
    };
    Mac([0x02, 0x51, a, b, c, d])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_fit_the_kernel_and_differ() {
        let one = host_interface(&Key::new("n", "c1"));
        assert_eq!(one.len(), 15);
        assert_ne!(one, host_interface(&Key::new("n", "c2")));
        assert_ne!(one, host_interface(&Key::new("m", "c1")));
        assert_eq!(mac("ply0")[0] & 3, 2);
        assert_eq!(
            mac_of("10.90.0.2".parse().unwrap()).to_string(),
            "02:51:0a:5a:00:02"
        );
    }
}
