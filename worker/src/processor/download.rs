//! One file by HTTP. From a sector manager's `/piecestore/` it may be elsewhere: then the second
//! request shows the token for pieces, as damocles's market wants it, and nobody else gets it. A download that is cut off goes on from where it was (RFC 9110, section 14), as
//! long as the server says that the file is the same; what could be of another file is never put
//! behind what is there.
//!
//! ```text
//!  cut, the server names the file's version  -> the rest of that version is asked for
//!    206, of the same version                -> goes on
//!    200, or another version, or 4xx         -> fails: whoever downloads begins anew
//!    nobody answers, or 5xx                  -> asked again, a few times
//!  cut, the server names no version          -> fails
//! ```

use std::{
    fmt,
    io::{self, Read},
    thread::sleep,
    time::Duration,
};

use damocles_client::backoff::Backoff;
use secrecy::{ExposeSecret, SecretString};
use tracing::warn;
use ureq::{
    Agent, Body, RequestBuilder,
    http::{Response, StatusCode, header},
    typestate::WithoutBody,
};
use url::Url;

use crate::failure::NOT_DOWNLOADED;

// A minute and a half in all.
const ASK_AGAIN: Backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(30));
const MOST_CUTS: u32 = 8;
// Where a damocles-manager answers for pieces, and what the market behind it wants to know.
const PIECE_STORE: &str = "/piecestore/";
const NAMESPACE: &str = "X-VENUS-API-NAMESPACE";
const MARKET: &str = "v1.IMarket";

/// A file's bytes. A read that fails has nothing behind it.
pub(super) struct Download {
    source: Source,
    body: Box<dyn Read + Send>,
    version: Option<Version>,
    read: u64,
    /// In a row, without a byte between them.
    cuts: u32,
    backoff: Backoff,
}

/// Where a file is.
pub(super) struct Source {
    agent: Agent,
    url: String,
    /// For whoever a sector manager redirects to.
    token: Option<SecretString>,
}

/// The rest of a file that was read in part.
#[derive(Clone, Copy)]
struct Rest<'a> {
    from: u64,
    validator: &'a str,
}

/// What tells a file from the one that stood in its place before.
#[derive(Debug, PartialEq, Eq)]
struct Version {
    /// An entity tag or a date, as the server wrote it.
    validator: String,
    /// In bytes, of the whole file.
    length: u64,
}

impl Download {
    /// Asks for a file. The server's answer is there when this returns.
    pub(super) fn start(source: Source) -> io::Result<Download> {
        let response = source.ask(None).map_err(failed)?;
        let length = response.body().content_length();
        let version = validator(&response)
            .zip(length)
            .map(|(validator, length)| Version { validator: validator.to_owned(), length });
        Ok(Download {
            source,
            body: Box::new(response.into_body().into_reader()),
            version,
            read: 0,
            cuts: 0,
            backoff: ASK_AGAIN,
        })
    }

    // Whether bytes are still to come.
    fn is_short(&self) -> bool {
        self.version.as_ref().is_some_and(|version| self.read < version.length)
    }

    // Gets the rest of the same file.
    fn go_on(&mut self, mut why: io::Error) -> io::Result<()> {
        let Some(version) = &self.version else { return Err(why) };
        loop {
            if self.cuts == MOST_CUTS {
                return Err(why);
            }
            self.cuts += 1;
            warn!(url = self.source.url, read = self.read, of = version.length, error = %why, "a download was cut off and goes on");
            sleep(self.backoff.pause());
            let rest = Rest { from: self.read, validator: &version.validator };
            match self.source.ask(Some(rest)) {
                Ok(response) => {
                    if !version.is_rest(&response, self.read) {
                        let changed = format!(
                            "it was cut off after {} of {} bytes, and the server does not have the rest of the same file",
                            self.read, version.length
                        );
                        return Err(io::Error::other(changed));
                    }
                    self.body = Box::new(response.into_body().into_reader());
                    return Ok(());
                }
                Err(error) => {
                    let is_final = matches!(error, ureq::Error::StatusCode(400..500));
                    why = error.into_io();
                    if is_final {
                        return Err(why);
                    }
                }
            }
        }
    }
}

impl Source {
    pub(super) fn new(agent: Agent, url: &str, token: Option<SecretString>) -> Source {
        Source { agent, url: url.to_owned(), token }
    }

    fn ask(&self, rest: Option<Rest<'_>>) -> Result<Response<Body>, ureq::Error> {
        let store = Url::parse(&self.url).ok().filter(|url| url.path().starts_with(PIECE_STORE));
        let Some((token, store)) = self.token.as_ref().zip(store) else {
            return self.request(&self.url, rest).call();
        };
        let first = self.request(&self.url, rest).config().max_redirects(0).build().call()?;
        let elsewhere = text(&first, header::LOCATION).filter(|_| first.status().is_redirection());
        let Some(elsewhere) = elsewhere else { return Ok(first) };
        let elsewhere = store.join(elsewhere);
        let elsewhere = elsewhere.map_err(|error| ureq::Error::BadUri(error.to_string()))?;
        self.request(elsewhere.as_str(), rest)
            .header(header::AUTHORIZATION, format!("Bearer {}", token.expose_secret()))
            .header(NAMESPACE, MARKET)
            .call()
    }

    fn request(&self, url: &str, rest: Option<Rest<'_>>) -> RequestBuilder<WithoutBody> {
        // Compressed bytes have other positions.
        let request = self.agent.get(url).header(header::ACCEPT_ENCODING, "identity");
        let Some(Rest { from, validator }) = rest else { return request };
        request.header(header::RANGE, format!("bytes={from}-")).header(header::IF_RANGE, validator)
    }
}

impl Read for Download {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.body.read(buffer) {
                Ok(0) if !buffer.is_empty() && self.is_short() => {
                    self.go_on(io::ErrorKind::UnexpectedEof.into()).map_err(failed)?
                }
                Ok(count) => {
                    self.read += count as u64;
                    (self.cuts, self.backoff) = (0, ASK_AGAIN);
                    return Ok(count);
                }
                Err(error) => self.go_on(error).map_err(failed)?,
            }
        }
    }
}

impl Version {
    // Whether this is what comes after so many bytes of this very file.
    fn is_rest(&self, response: &Response<Body>, read: u64) -> bool {
        let (first, last) = (read, self.length.saturating_sub(1));
        let range = format!("bytes {first}-{last}/{}", self.length);
        response.status() == StatusCode::PARTIAL_CONTENT
            && text(response, header::CONTENT_RANGE) == Some(&range)
            // A server that sends a part need not say of which version, for it was asked for one.
            && named_version(response).is_none_or(|named| named == self.validator)
    }
}

fn failed(error: impl fmt::Display) -> io::Error {
    io::Error::other(format!("{NOT_DOWNLOADED}: {error}"))
}

// What differs if a single byte of the file does (RFC 9110, section 8.8). A date does if the file
// was not changed in the second in which it was sent.
fn validator(response: &Response<Body>) -> Option<&str> {
    let is_encoded = response.headers().contains_key(header::CONTENT_ENCODING);
    let named = named_version(response).filter(|_| !is_encoded)?;
    let is_strong = match text(response, header::ETAG) {
        Some(tag) => tag.starts_with('"'),
        None => text(response, header::DATE).is_some_and(|sent| sent != named),
    };
    is_strong.then_some(named)
}

fn named_version(response: &Response<Body>) -> Option<&str> {
    text(response, header::ETAG).or_else(|| text(response, header::LAST_MODIFIED))
}

fn text(response: &Response<Body>, name: header::HeaderName) -> Option<&str> {
    response.headers().get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead, BufReader, Write},
        net::TcpListener,
        thread::JoinHandle,
    };

    use super::*;
    use crate::failure::may_pass;

    const FIRST: &str = "200 OK\r\nETag: \"a\"\r\nContent-Length: 10\r\n\r\n0123";

    // Answers so many requests, each on a connection that ends with its answer. Returns what was
    // asked for of each.
    fn server(answers: &[&str]) -> (String, JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/file", listener.local_addr().unwrap());
        let answers: Vec<_> = answers.iter().map(|answer| answer.to_string()).collect();
        let serve = move |answer: String| {
            let (mut client, _) = listener.accept().unwrap();
            let lines = BufReader::new(client.try_clone().unwrap()).lines();
            let head: Vec<_> =
                lines.map(Result::unwrap).take_while(|line| !line.is_empty()).collect();
            if !answer.is_empty() {
                write!(client, "HTTP/1.1 {answer}").unwrap();
            }
            let told = ["range:", "authorization:", "x-venus"];
            let asked = head
                .iter()
                .map(|line| line.to_lowercase())
                .filter(|line| told.iter().any(|name| line.contains(name)));
            asked.collect::<Vec<_>>().join(", ")
        };
        (url, std::thread::spawn(move || answers.into_iter().map(serve).collect()))
    }

    fn download(url: &str) -> (Vec<u8>, io::Result<usize>) {
        let mut bytes = vec![];
        let result = Download::start(source(url, None)).unwrap().read_to_end(&mut bytes);
        (bytes, result)
    }

    fn source(url: &str, token: Option<&str>) -> Source {
        let agent = Agent::config_builder().build().into();
        Source::new(agent, url, token.map(SecretString::from))
    }

    #[test]
    fn only_whoever_a_sector_manager_redirects_to_gets_the_token_and_after_a_cut_again() {
        let (market, asked_market) = server(&[
            FIRST,
            "206 Partial Content\r\nContent-Range: bytes 4-9/10\r\nContent-Length: 6\r\n\r\n456789",
            "200 OK\r\nContent-Length: 2\r\n\r\nok",
        ]);
        let redirect = format!("302 Found\r\nLocation: {market}\r\nContent-Length: 0\r\n\r\n");
        let here = "200 OK\r\nContent-Length: 2\r\n\r\nok";
        let (manager, asked_manager) = server(&[&redirect, &redirect, here, &redirect]);
        let piece = manager.replace("/file", "/piecestore/baga");
        let read = |url: &str| {
            let mut bytes = vec![];
            Download::start(source(url, Some("hunter2"))).unwrap().read_to_end(&mut bytes).unwrap();
            bytes
        };
        assert_eq!(read(&piece), b"0123456789");
        assert_eq!(read(&piece), b"ok", "it needs no redirect");
        assert_eq!(read(&manager), b"ok", "it is no sector manager's");
        let shown = "authorization: bearer hunter2, x-venus-api-namespace: v1.imarket";
        let range = "range: bytes=4-, if-range: \"a\"";
        let asked_market = asked_market.join().unwrap();
        assert_eq!(asked_market, [shown.to_owned(), format!("{range}, {shown}"), String::new()]);
        assert_eq!(asked_manager.join().unwrap(), ["", range, "", ""]);
    }

    #[test]
    fn what_was_cut_off_goes_on_where_it_was() {
        let (url, requests) = server(&[
            FIRST,
            "206 Partial Content\r\nETag: \"a\"\r\nContent-Range: bytes 4-9/10\r\nContent-Length: 6\r\n\r\n45",
            // Nobody answers for a moment.
            "",
            "503 Service Unavailable\r\nContent-Length: 0\r\n\r\n",
            "206 Partial Content\r\nContent-Range: bytes 6-9/10\r\nContent-Length: 4\r\n\r\n6789",
        ]);
        let (bytes, result) = download(&url);
        assert_eq!((result.unwrap(), bytes), (10, b"0123456789".to_vec()));
        let (of_4, of_6) = ("range: bytes=4-, if-range: \"a\"", "range: bytes=6-, if-range: \"a\"");
        assert_eq!(requests.join().unwrap(), ["", of_4, of_6, of_6, of_6]);
    }

    #[test]
    fn a_date_tells_versions_apart_where_there_is_no_tag() {
        let (url, requests) = server(&[
            "200 OK\r\nLast-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\nDate: Sun, 06 Nov 1994 08:49:38 GMT\r\nContent-Length: 4\r\n\r\n01",
            "206 Partial Content\r\nContent-Range: bytes 2-3/4\r\nContent-Length: 2\r\n\r\n23",
        ]);
        assert_eq!(download(&url).0, b"0123");
        assert_eq!(
            requests.join().unwrap()[1],
            "range: bytes=2-, if-range: sun, 06 nov 1994 08:49:37 gmt"
        );
    }

    #[test]
    fn nothing_of_another_file_comes_behind_what_is_there() {
        for other in [
            // It has changed, or the server has no ranges.
            "200 OK\r\nETag: \"b\"\r\nContent-Length: 10\r\n\r\nabcdefghij",
            "200 OK\r\nETag: \"a\"\r\nContent-Length: 10\r\n\r\n0123456789",
            "206 Partial Content\r\nETag: \"b\"\r\nContent-Range: bytes 4-9/10\r\nContent-Length: 6\r\n\r\nefghij",
            "206 Partial Content\r\nContent-Range: bytes 4-10/11\r\nContent-Length: 7\r\n\r\nefghijk",
            "206 Partial Content\r\nContent-Range: bytes 0-9/10\r\nContent-Length: 10\r\n\r\n0123456789",
            "206 Partial Content\r\nContent-Length: 6\r\n\r\n456789",
            "404 Not Found\r\nContent-Length: 6\r\n\r\n456789",
            "416 Range Not Satisfiable\r\nContent-Length: 0\r\n\r\n",
        ] {
            let (url, requests) = server(&[FIRST, other, "200 OK\r\nContent-Length: 3\r\n\r\nnew"]);
            let (bytes, result) = download(&url);
            let error = result.unwrap_err().to_string();
            assert!(may_pass(&error), "{other}: {error}");
            assert_eq!(bytes, b"0123", "{other}");
            // Whoever begins anew gets what is there now.
            assert_eq!(download(&url).0, b"new");
            assert_eq!(requests.join().unwrap()[2], "");
        }
    }

    #[test]
    fn where_nothing_names_the_version_a_cut_is_the_end() {
        let sent_at_once =
            "Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT";
        for head in
            ["Server: x", "ETag: W/\"a\"", sent_at_once, "ETag: \"a\"\r\nContent-Encoding: x"]
        {
            let (url, requests) =
                server(&[&format!("200 OK\r\n{head}\r\nContent-Length: 10\r\n\r\n0123")]);
            let (bytes, result) = download(&url);
            assert!(result.is_err() && bytes == b"0123", "{head}");
            assert_eq!(requests.join().unwrap(), [""]);
        }
    }
}
