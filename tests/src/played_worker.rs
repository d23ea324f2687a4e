//! A worker that only talks: it asks the sector manager what a real one would ask, and makes its
//! commitments up.

use std::{collections::BTreeSet, time::Duration};

use damocles_client::call::CallError;
use shared_msgs::{
    id::Id,
    sector_manager::{
        AcquireDeals, AcquireDealsSpec, AllocateSector, AllocateSectorSpec, AllocatedSector,
        AssignTicket, Commitment, PreCommitOnChainInfo, ReportAborted, ReportFinalized,
        ReportState, SectorId, SectorPiece, StateChange, SubmitPersisted, SubmitPreCommit,
        SubmitResult, WorkerPlace, WorkerRequest,
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::{DEADLINE, bus::Bus};

const ASK_AGAIN: Duration = Duration::from_millis(20);

/// One thread of such a worker.
#[derive(Clone, Debug)]
pub struct PlayedWorker {
    bus: Bus,
    place: WorkerPlace,
}

impl PlayedWorker {
    /// A thread of that name.
    pub fn new(bus: &Bus, name: &str) -> PlayedWorker {
        PlayedWorker {
            bus: bus.clone(),
            place: WorkerPlace { instance: name.into(), location: "/store1".into() },
        }
    }

    /// Asks the sector manager, which must not refuse.
    pub async fn ask<R: WorkerRequest>(&self, request: &R) -> R::Reply {
        self.try_ask(request).await.unwrap()
    }

    /// Asks; the answer may be a refusal.
    pub async fn try_ask<R: WorkerRequest>(&self, request: &R) -> Result<R::Reply, CallError> {
        self.bus.ask_sector_manager(&self.place.instance, request).await
    }

    /// Asks until there is something.
    pub async fn until_given<R: WorkerRequest<Reply = Option<T>>, T>(&self, request: &R) -> T {
        let asking = async {
            loop {
                match self.ask(request).await {
                    Some(given) => return given,
                    None => tokio::time::sleep(ASK_AGAIN).await,
                }
            }
        };
        timeout(DEADLINE, asking)
            .await
            .unwrap_or_else(|_| panic!("nothing on {} within {DEADLINE:?}", R::METHOD))
    }

    /// A new sector of any kind.
    pub async fn allocate(&self) -> AllocatedSector {
        let request =
            AllocateSector { request_id: Id::generate(), spec: AllocateSectorSpec::default() };
        self.ask(&request).await.unwrap()
    }

    /// The deals of a sector.
    pub async fn deals(&self, sector: SectorId) -> Option<Vec<SectorPiece>> {
        self.ask(&AcquireDeals {
            request_id: Id::generate(),
            sector,
            spec: AcquireDealsSpec::default(),
        })
        .await
    }

    /// Takes a sector from its allocation to its end. Its replica's commitment is [`comm_r`].
    pub async fn seal(&self, sector: AllocatedSector, comm_d: Commitment) {
        let id = sector.id;
        let ticket = self.ask(&AssignTicket { sector: id }).await;
        let info = PreCommitOnChainInfo { comm_r: comm_r(id), comm_d, ticket };
        let submitted = self
            .ask(&SubmitPreCommit { request_id: Id::generate(), sector, info, reset: false })
            .await;
        assert_eq!(submitted.res, SubmitResult::Accepted);
        self.persist(id, "remote").await;
        self.ask(&ReportFinalized { sector: id }).await;
    }

    /// Allocates and seals a sector without deals.
    pub async fn seal_one(&self) -> SectorId {
        let sector = self.allocate().await;
        self.seal(sector, [0; 32]).await;
        sector.id
    }

    /// Says that a sector's files are in a store.
    pub async fn persist(&self, sector: SectorId, store: &str) {
        let request = SubmitPersisted {
            request_id: Id::generate(),
            sector,
            store: store.into(),
            is_upgrade: false,
        };
        assert!(self.ask(&request).await);
    }

    /// Gives a sector up.
    pub async fn give_up(&self, sector: SectorId, reason: &str) {
        self.ask(&ReportAborted { sector, reason: reason.into() }).await;
    }

    /// Reports a step; returns the reason to give the sector up, if there is one.
    pub async fn step(
        &self,
        sector: SectorId,
        prev: &str,
        next: &str,
        event: &str,
    ) -> Option<String> {
        let state_change =
            StateChange { prev: prev.into(), next: next.into(), event: event.into() };
        self.ask(&ReportState { sector, worker: self.place.clone(), state_change, failure: None })
            .await
            .abort_reason
    }

    /// Says that it works in a state; returns the reason to give the sector up, if there is one.
    pub async fn heartbeat(&self, sector: SectorId, state: &str) -> Option<String> {
        self.step(sector, state, state, "Heartbeat").await
    }
}

/// The commitment that a played worker's replica has.
pub fn comm_r(sector: SectorId) -> Commitment {
    [sector.number as u8; 32]
}

/// The bytes of a client's file of this length.
pub fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|position| (position * 7 + length) as u8).collect()
}

/// The CIDs of the pieces that are deals.
pub fn deal_cids(pieces: &[SectorPiece]) -> BTreeSet<String> {
    pieces
        .iter()
        .filter(|piece| piece.deal_info.is_some())
        .map(|piece| piece.piece.piece_cid.clone())
        .collect()
}

/// `GET`s a URL of the loopback interface by hand: the status and the body.
pub async fn http_get(url: &str) -> (u16, Vec<u8>) {
    let (host, path) = url
        .strip_prefix("http://")
        .and_then(|rest| rest.split_once('/'))
        .unwrap_or_else(|| panic!("no URL: {url}"));
    let exchange = async {
        let mut stream = TcpStream::connect(host).await.unwrap();
        let request = format!("GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        answer
    };
    let answer = timeout(DEADLINE, exchange)
        .await
        .unwrap_or_else(|_| panic!("no answer from {url} within {DEADLINE:?}"));
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    let status = std::str::from_utf8(&answer[9..12]).unwrap().parse().unwrap();
    (status, answer[end + 4..].to_vec())
}
