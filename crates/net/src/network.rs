//! Where somebody comes from, as coarse as it is of use: an address is cheap to change, a network is not.

use std::net::IpAddr;

/// An address of IPv4, a /64 of IPv6, which is what one customer is given. The two never meet: no /64 in use begins with 32 zero bits.
pub fn address_key(address: IpAddr) -> u64 {
    match address.to_canonical() {
        IpAddr::V4(address) => u64::from(address.to_bits()),
        IpAddr::V6(address) => (address.to_bits() >> 64) as u64,
    }
}

/// The network around it: a /24 of IPv4, a /48 of IPv6.
pub fn network_key(address: IpAddr) -> u64 {
    match address.to_canonical() {
        IpAddr::V4(address) => u64::from(address.to_bits() >> 8),
        IpAddr::V6(address) => (address.to_bits() >> 80) as u64,
    }
}

/// What a stranger cannot change at will, for people to read: a /24 of IPv4, a /64 of IPv6.
pub fn network_name(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            let [a, b, c, _] = address.octets();
            format!("{a}.{b}.{c}.0/24")
        }
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_network_is_what_one_customer_of_a_provider_has() {
        let check = |text: &str, expected: &str| assert_eq!(network_name(address(text)), expected);
        check("192.0.2.77", "192.0.2.0/24");
        check("::ffff:192.0.2.77", "192.0.2.0/24");
        check("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64");
    }

    #[test]
    fn neighbours_share_a_network_and_not_an_address() {
        let check = |one: &str, other: &str, same_address: bool, same_network: bool| {
            let (one, other) = (address(one), address(other));
            assert_eq!(address_key(one) == address_key(other), same_address, "{one} {other}");
            assert_eq!(network_key(one) == network_key(other), same_network, "{one} {other}");
        };
        check("192.0.2.1", "::ffff:192.0.2.1", true, true);
        check("192.0.2.1", "192.0.2.2", false, true);
        check("192.0.2.1", "192.0.3.1", false, false);
        check("2001:db8:1:2::1", "2001:db8:1:2:ffff::2", true, true);
        check("2001:db8:1:2::1", "2001:db8:1:3::1", false, true);
        check("2001:db8:1:2::1", "2001:db8:2:2::1", false, false);
    }
}
