//! Where a server is, as damocles's configuration files have it: a URL or a multiaddr.

use std::fmt;

use reqwest::Url;
use serde::Deserialize;

/// Where a JSON-RPC server is: `http://10.0.0.1:1789/rpc/v0`, or as a multiaddr
/// `/ip4/10.0.0.1/tcp/1789`, `/dns4/manager/tcp/443/https`.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Address(Url);

/// This is no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no address: write it as http://10.0.0.1:1789 or /ip4/10.0.0.1/tcp/1789")]
pub struct AddressError(String);

impl Address {
    /// The URL to send to: with this path where the address names none.
    pub fn url(&self, default_path: &str) -> Url {
        let mut url = self.0.clone();
        if url.path() == "/" {
            url.set_path(default_path);
        }
        url
    }

    /// Another path on the same server, e.g. `/piecestore/`.
    pub fn at(&self, path: &str) -> Url {
        let mut url = self.0.clone();
        url.set_path(path);
        url
    }
}

// A login in it stays where it is.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = self.0.clone();
        if !shown.username().is_empty() || shown.password().is_some() {
            let _ = shown.set_username("…");
            let _ = shown.set_password(None);
        }
        shown.fmt(f)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::str::FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Address, AddressError> {
        let text = text.trim();
        let url = match text.strip_prefix('/') {
            Some(multiaddr) => of_multiaddr(multiaddr),
            None => Url::parse(text).ok(),
        };
        // Damocles takes the one of a WebSocket for that of HTTP.
        let url = url.and_then(|mut url| {
            match url.scheme() {
                "ws" => url.set_scheme("http").ok()?,
                "wss" => url.set_scheme("https").ok()?,
                _ => {}
            }
            Some(url)
        });
        url.filter(|url| matches!(url.scheme(), "http" | "https") && url.host().is_some())
            .map(Address)
            .ok_or_else(|| AddressError(text.to_owned()))
    }
}

impl TryFrom<String> for Address {
    type Error = AddressError;

    fn try_from(text: String) -> Result<Address, AddressError> {
        text.parse()
    }
}

fn of_multiaddr(text: &str) -> Option<Url> {
    let mut parts = text.trim_end_matches('/').split('/');
    let (kind, host) = (parts.next()?, parts.next()?);
    let host = match kind {
        "ip4" => host.parse::<std::net::Ipv4Addr>().ok()?.to_string(),
        "ip6" => format!("[{}]", host.parse::<std::net::Ipv6Addr>().ok()?),
        "dns" | "dns4" | "dns6" => host.to_owned(),
        _ => return None,
    };
    let ("tcp", port) = (parts.next()?, parts.next()?.parse::<u16>().ok()?) else { return None };
    let scheme = match (parts.next(), parts.next()) {
        (None | Some("http" | "ws"), None) => "http",
        (Some("https" | "wss"), None) => "https",
        _ => return None,
    };
    Url::parse(&format!("{scheme}://{host}:{port}/")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Option<String> {
        Some(text.parse::<Address>().ok()?.url("/rpc/v0").to_string())
    }

    #[test]
    fn urls_and_multiaddrs_are_addresses() {
        for (text, expected) in [
            ("http://10.0.0.1:1789", "http://10.0.0.1:1789/rpc/v0"),
            ("http://10.0.0.1:1789/rpc/v0", "http://10.0.0.1:1789/rpc/v0"),
            ("ws://10.0.0.1:1789/rpc/v0", "http://10.0.0.1:1789/rpc/v0"),
            ("https://manager/", "https://manager/rpc/v0"),
            ("/ip4/10.0.0.1/tcp/1789", "http://10.0.0.1:1789/rpc/v0"),
            ("/ip4/10.0.0.1/tcp/1789/http", "http://10.0.0.1:1789/rpc/v0"),
            ("/ip6/::1/tcp/1789/ws", "http://[::1]:1789/rpc/v0"),
            ("/dns4/manager/tcp/443/https", "https://manager/rpc/v0"),
            ("/dns/manager/tcp/444/wss/", "https://manager:444/rpc/v0"),
        ] {
            assert_eq!(url(text).as_deref(), Some(expected), "{text}");
        }
        let at = "/dns4/m/tcp/1789".parse::<Address>().unwrap().at("/piecestore/x");
        assert_eq!(at.to_string(), "http://m:1789/piecestore/x");
    }

    #[test]
    fn what_is_no_address_is_told_how_one_is_written() {
        for text in [
            "",
            "10.0.0.1:1789",
            "ftp://m",
            "/ip4/m/tcp/1789",
            "/ip4/10.0.0.1",
            "/ip4/10.0.0.1/udp/1",
            "/ip4/10.0.0.1/tcp/70000",
            "/unix/x",
            "/ip4/10.0.0.1/tcp/1/http/x",
            "http://",
        ] {
            let error = text.parse::<Address>().unwrap_err().to_string();
            assert!(error.contains("/ip4/10.0.0.1/tcp/1789"), "{text}: {error}");
        }
    }

    #[test]
    fn a_login_is_not_shown() {
        let address: Address = "http://me:secret@m:1789".parse().unwrap();
        assert!(!format!("{address} {address:?}").contains("secret"));
    }
}
