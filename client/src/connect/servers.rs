//! A list of server URLs, taken apart: where the servers are, and the login that stands in their
//! URLs. The client gets addresses without any, or it would log them.

use std::io;

use async_nats::ServerAddr;
use percent_encoding::percent_decode_str;

use super::{
    error::ConnectError,
    login::{Login, Password},
    shown::without_login,
};

/// Where NATS is.
pub(super) struct Servers {
    /// At least one; without user names and passwords.
    pub addresses: Vec<ServerAddr>,
    /// The login in the URLs, for all of them.
    pub login: Option<Login>,
}

// User name and password, or a token, decoded.
type UserInfo = (String, Option<String>);

impl Servers {
    /// Takes URLs apart that are separated by commas.
    pub(super) fn parse(list: &str) -> Result<Servers, ConnectError> {
        let mut addresses = Vec::new();
        let mut login: Option<UserInfo> = None;
        for url in list.split(',').map(str::trim).filter(|url| !url.is_empty()) {
            let (address, of_this) = take_apart(url).map_err(|error| {
                ConnectError::Settings(format!(
                    "server {:?} is no NATS URL ({error}): write it as {}",
                    without_login(url, list),
                    pattern(list)
                ))
            })?;
            addresses.push(address);
            if of_this.is_some() && login.is_some() && of_this != login {
                return Err(ConnectError::Settings(
                    "the servers' URLs have different logins: give them all the same".into(),
                ));
            }
            login = login.or(of_this);
        }
        if addresses.is_empty() {
            return Err(ConnectError::Settings(
                "no NATS server is named: write --server nats://host:4222".into(),
            ));
        }
        let login = login.map(|login| match login {
            (token, None) => Login::Token(token.into()),
            (user, Some(password)) => Login::User(user, Password::Given(password.into())),
        });
        Ok(Servers { addresses, login })
    }
}

fn take_apart(url: &str) -> Result<(ServerAddr, Option<UserInfo>), String> {
    let parsed: ServerAddr = url.parse().map_err(|error: io::Error| error.to_string())?;
    let mut url = parsed.into_inner();
    // The end of a user name or password that began before.
    if [Some(url.path()), url.query(), url.fragment()].iter().flatten().any(|end| end.contains('@'))
    {
        return Err("there is an @ behind the host".into());
    }
    let decoded = |part: &str| {
        let text = percent_decode_str(part).decode_utf8();
        text.map(String::from).map_err(|_| "its user name or password is no UTF-8".to_owned())
    };
    let user = decoded(url.username())?;
    let password = url.password().map(decoded).transpose()?;
    let login = (!user.is_empty() || password.is_some()).then_some((user, password));
    let bare = url.set_username("").and_then(|()| url.set_password(None));
    bare.map_err(|()| "it has no host".to_owned())?;
    let address = ServerAddr::from_url(url).map_err(|error| error.to_string())?;
    Ok((address, login))
}

fn pattern(list: &str) -> &'static str {
    match list.contains('@') {
        true => {
            "nats://user:password@host:4222, with % / ? # : @ and , in user and password as %25 %2F %3F %23 %3A %40 and %2C"
        }
        false => "nats://host:4222",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(list: &str) -> (Vec<String>, Option<String>) {
        let servers = Servers::parse(list).unwrap();
        let addresses = servers.addresses.iter().map(|address| address.as_url_str().to_owned());
        let login = servers.login.map(|login| login.secrets().join(" "));
        (addresses.collect(), login)
    }

    fn refused(list: &str) -> String {
        Servers::parse(list).err().expect("accepted").to_string()
    }

    #[test]
    fn a_login_in_a_url_is_taken_out_of_it_and_decoded() {
        let of_one = |url| {
            let (addresses, login) = shown(url);
            assert_eq!(addresses, ["nats://a:1"], "{url}");
            login
        };
        assert_eq!(of_one("nats://a:1"), None);
        assert_eq!(of_one("a:1"), None);
        assert_eq!(of_one("nats://ann:secret@a:1").unwrap(), "ann secret");
        assert_eq!(of_one("ann:secret@a:1").unwrap(), "ann secret");
        assert_eq!(of_one("nats://a%40b:p%2Fw%3A%25%2C%c3%a9@a:1").unwrap(), "a@b p/w:%,é");
        assert_eq!(of_one("nats://ann:p@ss@a:1").unwrap(), "ann p@ss");
        assert_eq!(of_one("nats://to%20ken@a:1").unwrap(), "to ken");
        assert_eq!(shown("tls://ann:secret@a").0, ["tls://a"]);
        assert_eq!(shown("nats://ann:secret@[::1]:1").0, ["nats://[::1]:1"]);
    }

    #[test]
    fn the_login_of_one_url_is_that_of_all_and_two_are_refused() {
        let (addresses, login) = shown("nats://u:p@a:1, nats://b:2,nats://u:p@c:3");
        assert_eq!(addresses, ["nats://a:1", "nats://b:2", "nats://c:3"]);
        assert_eq!(login.unwrap(), "u p");
        assert_eq!(shown("nats://b:2, nats://u:p@a:1").1.unwrap(), "u p");
        assert!(refused("nats://u:p@a,nats://u:q@b").contains("different logins"));
    }

    #[test]
    fn what_is_no_url_is_refused_without_its_secrets() {
        for list in [
            "nats://u:hunter2@ho st:x",
            "nats://u:hunter2@host:x",
            "http://u:hunter2@host",
            "nats://u:hunter2#@host",
            "nats://u:hunter2/@host",
            "nats://u:17/hunter2@host",
            "nats://u:17?hunter2@host",
            "nats://u:hunter2,hunter2@host",
            "nats://u:%ff-hunter2@host",
            "nats://u:hunter2@",
        ] {
            let refused = refused(list);
            assert!(!refused.contains("hunter2"), "{list}: {refused}");
            assert!(refused.contains("nats://user:password@host:4222"), "{list}: {refused}");
        }
        assert!(refused("nats://ho st:x").contains("ho st"));
        assert!(refused(" , ").contains("--server"));
    }
}
