//! A TCP proxy before a server, through which the network can fail: what is cut, held up or healed
//! is said by the test.
//!
//! ```text
//!            cut: connections are closed, new ones too          hold_*: connections stay, bytes wait in one direction
//!  healthy <-----------------------------------------> cut      or in both; after heal they go on where they were
//! ```

use std::{
    net::Ipv4Addr,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::JoinHandle,
    time::timeout,
};

use crate::DEADLINE;

/// What the network does.
#[derive(Clone, Copy, Debug, Default)]
struct Weather {
    /// No connection lives, and none is made.
    cut: bool,
    /// Which life connections have; those of an earlier one end.
    life: u64,
    requests_held: bool,
    answers_held: bool,
}

/// The proxy; with it end all connections through it.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    weather: watch::Sender<Weather>,
    held: Arc<watch::Sender<Vec<u8>>>,
    server: watch::Sender<Option<u16>>,
    answered: Arc<Mutex<Answered>>,
    accepting: JoinHandle<()>,
}

/// What has gone to clients.
#[derive(Debug, Default)]
struct Answered {
    bytes: usize,
    /// After so many bytes their connection ends, once.
    cut_after: Option<usize>,
}

/// One direction of a connection.
struct Way {
    open: fn(&Weather) -> bool,
    /// What waits, for the test to see.
    held: Arc<watch::Sender<Vec<u8>>>,
    /// Of the way to the client.
    answered: Option<Arc<Mutex<Answered>>>,
}

impl Proxy {
    /// Listens on a free port of the loopback interface for a server on another one.
    pub async fn start(server_port: u16) -> Proxy {
        let proxy = Proxy::before().await;
        proxy.lead_to(server_port);
        proxy
    }

    /// Listens for a server that is not there yet: connections wait for it.
    pub async fn before() -> Proxy {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let weather = watch::Sender::<Weather>::default();
        let seen = weather.subscribe();
        let held = Arc::<watch::Sender<Vec<u8>>>::default();
        let waiting = held.clone();
        let (server, answered) = (watch::Sender::new(None), Arc::<Mutex<Answered>>::default());
        let (found, passed) = (server.subscribe(), answered.clone());
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                // One that is refused sees its connection end at once.
                if !seen.borrow().cut {
                    let (weather, held) = (seen.clone(), waiting.clone());
                    tokio::spawn(carry(client, found.clone(), weather, held, passed.clone()));
                }
            }
        });
        Proxy { port, weather, held, server, answered, accepting }
    }

    /// Says where the server is.
    pub fn lead_to(&self, server_port: u16) {
        self.server.send_replace(Some(server_port));
    }

    /// Ends the connection whose answer is so many bytes further; new ones are taken.
    pub fn cut_after(&self, bytes: usize) {
        let mut answered = self.answered.lock().unwrap();
        answered.cut_after = Some(answered.bytes + bytes);
    }

    /// How many bytes have gone to clients.
    pub fn answered(&self) -> usize {
        self.answered.lock().unwrap().bytes
    }

    /// The port that clients connect to.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What clients connect to.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Closes all connections, and new ones too.
    pub fn cut(&self) {
        self.weather.send_modify(|weather| {
            weather.cut = true;
            weather.life += 1;
        });
    }

    /// Lets nothing through, in neither direction; connections stay, and new ones are taken.
    pub fn hold(&self) {
        self.weather
            .send_modify(|weather| (weather.requests_held, weather.answers_held) = (true, true));
    }

    /// Lets nothing through to the server.
    pub fn hold_requests(&self) {
        self.weather.send_modify(|weather| weather.requests_held = true);
    }

    /// Lets nothing through to the clients.
    pub fn hold_answers(&self) {
        self.weather.send_modify(|weather| weather.answers_held = true);
    }

    /// Waits until these bytes are among those that are held.
    pub async fn until_held(&self, what: &str) {
        let mut held = self.held.subscribe();
        let arrived =
            held.wait_for(|held| held.windows(what.len()).any(|part| part == what.as_bytes()));
        assert!(
            timeout(DEADLINE, arrived).await.is_ok(),
            "{what:?} is not held within {DEADLINE:?}"
        );
    }

    /// Everything works again; what was held goes on.
    pub fn heal(&self) {
        self.weather
            .send_modify(|weather| *weather = Weather { life: weather.life, ..Weather::default() });
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut();
    }
}

// One connection, until either end closes it or the network does.
async fn carry(
    client: TcpStream,
    mut server: watch::Receiver<Option<u16>>,
    weather: watch::Receiver<Weather>,
    held: Arc<watch::Sender<Vec<u8>>>,
    answered: Arc<Mutex<Answered>>,
) {
    let life = weather.borrow().life;
    let mut ended = weather.clone();
    let carrying = async {
        let mut requests = weather.clone();
        // A server that cannot be reached looks like one that nobody answers for.
        if requests.wait_for(|weather| !weather.requests_held).await.is_err() {
            return;
        }
        let Ok(Some(port)) = server.wait_for(Option::is_some).await.map(|port| *port) else {
            return;
        };
        let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await else { return };
        let ((from_client, to_client), (from_server, to_server)) =
            (client.into_split(), server.into_split());
        let to_server_way =
            Way { open: |weather| !weather.requests_held, held: held.clone(), answered: None };
        let to_client_way =
            Way { open: |weather| !weather.answers_held, held, answered: Some(answered) };
        tokio::select! {
            () = pump(from_client, to_server, requests, to_server_way) => {}
            () = pump(from_server, to_client, weather, to_client_way) => {}
        }
    };
    tokio::select! {
        () = carrying => {}
        _ = ended.wait_for(|weather| weather.life != life) => {}
    }
}

impl Way {
    // How many of so many bytes pass, and whether the connection ends with them.
    fn passes(&self, count: usize) -> (usize, bool) {
        let Some(answered) = &self.answered else { return (count, false) };
        let mut answered = answered.lock().unwrap();
        let left = answered.cut_after.map(|end| end - answered.bytes).filter(|left| *left <= count);
        answered.cut_after.take_if(|_| left.is_some());
        let passing = left.unwrap_or(count);
        answered.bytes += passing;
        (passing, left.is_some())
    }
}

async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut weather: watch::Receiver<Weather>,
    way: Way,
) {
    let mut buffer = vec![0; 64 << 10];
    let (mut waiting, seen) = (vec![], weather.clone());
    loop {
        tokio::select! {
            biased;
            opened = opened(&mut weather, way.open), if !waiting.is_empty() => {
                let (count, ends) = way.passes(waiting.len());
                if !opened || to.write_all(&waiting[..count]).await.is_err() || ends {
                    return;
                }
                waiting.clear();
                way.held.send_modify(Vec::clear);
            }
            read = from.read(&mut buffer) => {
                let Ok(count @ 1..) = read else { return };
                waiting.extend_from_slice(&buffer[..count]);
                if !(way.open)(&seen.borrow()) {
                    way.held.send_modify(|held| held.extend_from_slice(&buffer[..count]));
                }
            }
        }
    }
}

// Whether there still is a test.
async fn opened(weather: &mut watch::Receiver<Weather>, open: fn(&Weather) -> bool) -> bool {
    weather.wait_for(open).await.is_ok()
}
