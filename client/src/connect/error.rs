//! Why there is no connection, by what an operator can do about it.

use std::{fmt, path::Path};

use async_nats::ConnectErrorKind;

/// Why there is no connection. Servers are named without user names and passwords.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The options do not make sense.
    #[error("{0}")]
    Settings(String),
    /// A file cannot be read or used.
    #[error("cannot use {file} {path}: {error}")]
    File {
        /// What the file is for.
        file: NatsFile,
        /// Path as it was given.
        path: String,
        /// What the operating system or the parser says.
        error: String,
    },
    /// Nobody answers there.
    #[error("cannot reach NATS at {servers}: {error}")]
    Unreachable {
        /// The servers tried.
        servers: String,
        /// What the operating system says.
        error: String,
    },
    /// A server's name has no address.
    #[error("cannot find NATS at {servers}: {error}")]
    NoSuchHost {
        /// The servers tried.
        servers: String,
        /// What the operating system says.
        error: String,
    },
    /// The server does not let one in.
    #[error("NATS at {servers} refuses {}: {error}", who(login.as_deref()))]
    Refused {
        /// The servers tried.
        servers: String,
        /// How it was tried to log in.
        login: Option<String>,
        /// What the server says.
        error: String,
    },
    /// One side does not take the other's certificate, or there is no TLS.
    #[error("no TLS connection to NATS at {servers}: {error}")]
    Tls {
        /// The servers tried.
        servers: String,
        /// What the TLS library says.
        error: String,
    },
    /// Anything else that the server or the client says.
    #[error("no connection to NATS at {servers}: {error}")]
    Other {
        /// The servers tried.
        servers: String,
        /// What it says.
        error: String,
    },
}

/// Who is refused, for people.
pub(super) fn who(login: Option<&str>) -> &str {
    login.unwrap_or("a client without a login")
}

/// A file that is needed to reach NATS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NatsFile {
    /// A context of the `nats` client.
    Context,
    /// A user's JWT and nkey seed.
    Creds,
    /// A user's nkey seed.
    Nkey,
    /// A user's password.
    Password,
    /// Certificate authorities.
    Ca,
    /// A client certificate.
    Certificate,
    /// Its key.
    Key,
}

impl fmt::Display for NatsFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NatsFile::Context => "context",
            NatsFile::Creds => "credentials file",
            NatsFile::Nkey => "nkey file",
            NatsFile::Password => "password file",
            NatsFile::Ca => "CA file",
            NatsFile::Certificate => "certificate",
            NatsFile::Key => "key",
        })
    }
}

impl NatsFile {
    /// The error of a file that cannot be used.
    pub(super) fn unusable(self, path: &Path, error: impl ToString) -> ConnectError {
        let path = path.display().to_string();
        ConnectError::File { file: self, path, error: error.to_string() }
    }
}

/// Why an attempt to connect failed; the first is what an operator should know first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Cause {
    /// A file that is needed to log in.
    File,
    Refused,
    Tls,
    NoSuchHost,
    Unreachable,
    Other,
}

// How the TLS library's sentences begin; the client takes them for I/O errors.
const OF_TLS: [&str; 6] = [
    "invalid peer certificate",
    "peer ",
    "received corrupt message",
    "received fatal alert",
    "received unexpected",
    "tls handshake eof",
];
// What the operating system says, and what the client says of somebody who hangs up.
const OF_NOBODY: [&str; 3] = ["(os error ", "expected INFO, got nothing", "broken pipe"];

impl Cause {
    /// The cause in a sentence of the client, which begins with a kind: all that a daemon gets to
    /// know.
    pub(super) fn of(error: &str) -> Cause {
        let rest = |kind: ConnectErrorKind| error.strip_prefix(&kind.to_string());
        let io = rest(ConnectErrorKind::Io).map(|io| io.trim_start_matches(": "));
        if rest(ConnectErrorKind::Authentication).is_some() {
            Cause::File
        } else if rest(ConnectErrorKind::AuthorizationViolation).is_some() {
            Cause::Refused
        } else if rest(ConnectErrorKind::Tls).is_some()
            || io.is_some_and(|io| OF_TLS.iter().any(|words| io.starts_with(words)))
        {
            Cause::Tls
        } else if rest(ConnectErrorKind::Dns).is_some() {
            Cause::NoSuchHost
        } else if rest(ConnectErrorKind::TimedOut).is_some()
            || io.is_some_and(|io| OF_NOBODY.iter().any(|words| io.contains(words)))
        {
            Cause::Unreachable
        } else {
            Cause::Other
        }
    }
}

/// A sentence of the client without the kind that our own words say.
pub(super) fn without_kind(error: &str) -> &str {
    let said = [ConnectErrorKind::Authentication, ConnectErrorKind::AuthorizationViolation];
    said.iter()
        .find_map(|kind| error.strip_prefix(&format!("{kind}: ")))
        .unwrap_or(error)
        .trim_start_matches("nats: ")
}

#[cfg(test)]
mod tests {
    use std::io;

    use async_nats::{ConnectError, rustls};

    use super::*;

    #[test]
    fn each_cause_is_told_by_what_the_client_says() {
        let cause = |error: ConnectError| Cause::of(&error.to_string());
        let io = |error: io::Error| cause(ConnectError::with_source(ConnectErrorKind::Io, error));
        // Connection reset by peer, refused, no route, timed out.
        for code in [104, 111, 113, 110] {
            assert_eq!(io(io::Error::from_raw_os_error(code)), Cause::Unreachable, "{code}");
        }
        assert_eq!(cause(ConnectErrorKind::TimedOut.into()), Cause::Unreachable);
        assert_eq!(io(io::Error::other("expected INFO, got nothing")), Cause::Unreachable);
        for error in [
            rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer),
            rustls::Error::AlertReceived(rustls::AlertDescription::CertificateRequired),
            rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType),
            rustls::Error::NoCertificatesPresented,
        ] {
            assert_eq!(io(io::Error::new(io::ErrorKind::InvalidData, error)), Cause::Tls);
        }
        let of = |kind| cause(ConnectError::with_source(kind, "x"));
        assert_eq!(of(ConnectErrorKind::Tls), Cause::Tls);
        assert_eq!(of(ConnectErrorKind::Dns), Cause::NoSuchHost);
        assert_eq!(of(ConnectErrorKind::AuthorizationViolation), Cause::Refused);
        assert_eq!(of(ConnectErrorKind::Authentication), Cause::File);
        assert_eq!(io(io::Error::other("nats: maximum connections exceeded")), Cause::Other);
    }
}
