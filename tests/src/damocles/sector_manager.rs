//! A damocles sector manager with a chain behind it on which everything lands, as version 0.13.1
//! behaves: JSON-RPC by HTTP with its statuses, an ended sector found offline only, `""` where there
//! is no reason, a number used up by each allocation. What a test wants to go wrong goes wrong once.

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{post, put},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};

use crate::{bus::within_deadline, testbed::MINER};

/// What goes wrong with the next call of a method.
#[derive(Clone, Debug)]
pub enum Fault {
    /// It is carried out, and answered so much later.
    Slow(Duration),
    /// It is carried out, and the connection ends instead of an answer.
    Cut,
    /// It is not carried out: status 500 and no body.
    Empty500,
    /// It is not carried out: this body, with status 200.
    Nonsense(&'static str),
    /// It is refused with this code and message.
    Refused(i64, &'static str),
}

/// A sector as the sector manager has it.
#[derive(Clone, Debug, Default)]
pub struct Sector {
    /// What was reported last.
    pub latest_state: Option<Value>,
    /// It has ended.
    pub finalized: bool,
    /// Why it was given up.
    pub abort_reason: String,
    /// A piece is being unsealed.
    pub unsealing: bool,
    /// What was handed in last, and how many messages went to the chain for it.
    pub pre_commit: Option<(Value, u32)>,
    /// The same of its proof.
    pub proof: Option<(Value, u32)>,
    /// Where it is.
    pub store: Option<String>,
    tickets: u8,
}

/// What a test sets up, and looks at.
#[derive(Debug, Default)]
pub struct World {
    /// By number; the miner is 10000.
    pub sectors: BTreeMap<u64, Sector>,
    /// What AcquireDeals gives next.
    pub deals: VecDeque<Value>,
    /// What AllocateSanpUpSector gives next; the same for the other kinds of jobs.
    pub snapups: VecDeque<Value>,
    /// What AllocateRebuildSector gives next.
    pub rebuilds: VecDeque<Value>,
    /// What AllocateUnsealSector gives next.
    pub unseals: VecDeque<Value>,
    /// What WdPoStAllocateJobs gives next.
    pub wdposts: VecDeque<Value>,
    /// Who has a window-PoSt job.
    pub wdpost_workers: BTreeMap<String, String>,
    /// What ended with what: parameters of WdPoStFinishJob.
    pub wdpost_ends: Vec<Value>,
    /// What was brought to its own store of pieces, by their CIDs.
    pub uploaded: BTreeMap<String, Vec<u8>>,
    /// Its stores.
    pub stores: Vec<String>,
    /// The faults of calls to come.
    pub faults: BTreeMap<String, VecDeque<Fault>>,
    /// What was called, in order, with its parameters.
    pub calls: Vec<(String, Value)>,
    /// The version that it says.
    pub version: Option<String>,
}

/// A sector manager that runs, or does not.
#[derive(Debug)]
pub struct SectorManager {
    address: SocketAddr,
    shared: Shared,
    serving: Option<JoinHandle<()>>,
}

#[derive(Clone, Debug)]
struct Shared {
    world: Arc<Mutex<World>>,
    called: watch::Sender<usize>,
}

impl SectorManager {
    /// Starts one with a store `remote`, which is what the workers of the tests call theirs.
    pub async fn start() -> SectorManager {
        let world = World { stores: vec!["remote".into()], ..World::default() };
        let shared = Shared { world: Arc::new(Mutex::new(world)), called: watch::channel(0).0 };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = Some(serve(listener, shared.clone()));
        SectorManager { address, shared, serving }
    }

    /// Where it is: `http://127.0.0.1:1789`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// It ends, with every connection; what it knows stays.
    pub async fn stop(&mut self) {
        if let Some(serving) = self.serving.take() {
            serving.abort();
            drop(serving.await);
        }
    }

    /// It runs again at the same address.
    pub async fn restart(&mut self) {
        self.stop().await;
        let bound = async {
            loop {
                match TcpListener::bind(self.address).await {
                    Ok(listener) => return listener,
                    Err(_) => tokio::task::yield_now().await,
                }
            }
        };
        let listener = within_deadline("its port", bound).await;
        self.serving = Some(serve(listener, self.shared.clone()));
    }

    /// What it knows, to be changed and looked at.
    pub fn world(&self) -> MutexGuard<'_, World> {
        self.shared.world.lock().unwrap()
    }

    /// What goes wrong with a method's next call; of several, one after the other.
    pub fn fault(&self, method: &str, fault: Fault) {
        self.world().faults.entry(method.to_owned()).or_default().push_back(fault);
    }

    /// The parameters of every call of a method so far.
    pub fn calls(&self, method: &str) -> Vec<Value> {
        let world = self.world();
        let of_method = world.calls.iter().filter(|(called, _)| called == method);
        of_method.map(|(_, params)| params.clone()).collect()
    }

    /// Waits until what it knows is so.
    pub async fn until(&self, what: &str, holds: impl Fn(&World) -> bool) {
        let mut called = self.shared.called.subscribe();
        let waiting = async {
            while !holds(&self.world()) {
                called.changed().await.unwrap();
            }
        };
        within_deadline(what, waiting).await;
    }

    /// Waits until a method was called so often.
    pub async fn until_called(&self, method: &str, times: usize) {
        let called = |world: &World| {
            world.calls.iter().filter(|(called, _)| called == method).count() >= times
        };
        self.until(&format!("{times} calls of {method}"), called).await;
    }

    /// Waits until a sector is finalized.
    pub async fn until_finalized(&self, number: u64) {
        let finalized =
            |world: &World| world.sectors.get(&number).is_some_and(|sector| sector.finalized);
        self.until(&format!("sector {number} is finalized"), finalized).await;
    }
}

impl Drop for SectorManager {
    fn drop(&mut self) {
        if let Some(serving) = self.serving.take() {
            serving.abort();
        }
    }
}

// Connections end with it: a sector manager that is restarted leaves none.
fn serve(listener: TcpListener, shared: Shared) -> JoinHandle<()> {
    let router = Router::new()
        .route("/rpc/v0", post(answer))
        .route("/piecestore/{piece}", put(uploaded))
        .with_state(shared);
    tokio::spawn(async move {
        let mut connections = tokio::task::JoinSet::new();
        loop {
            let Ok((stream, _)) = listener.accept().await else { return };
            let service = router.clone();
            connections.spawn(serve_connection(stream, service));
        }
    })
}

async fn serve_connection(stream: tokio::net::TcpStream, router: Router) {
    let service = hyper_util::service::TowerToHyperService::new(router);
    let connection = hyper::server::conn::http1::Builder::new()
        .serve_connection(hyper_util::rt::TokioIo::new(stream), service);
    drop(connection.await);
}

async fn uploaded(State(shared): State<Shared>, Path(piece): Path<String>, body: Bytes) {
    shared.world.lock().unwrap().uploaded.insert(piece, body.to_vec());
    shared.called.send_modify(|count| *count += 1);
}

async fn answer(State(shared): State<Shared>, body: Bytes) -> Response {
    let Ok(request) = serde_json::from_slice::<Value>(&body) else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let full = request["method"].as_str().unwrap_or_default().to_owned();
    let (id, params) = (request["id"].clone(), request["params"].clone());
    let Some(method) = full.strip_prefix("Venus.").map(str::to_owned) else {
        return refused(&id, -32601, &format!("method '{full}' not found"));
    };
    let fault = {
        let mut world = shared.world.lock().unwrap();
        world.calls.push((method.clone(), params.clone()));
        world.faults.get_mut(&method).and_then(VecDeque::pop_front)
    };
    let answered = || {
        let result = shared.world.lock().unwrap().carry_out(&method, &params);
        shared.called.send_modify(|count| *count += 1);
        match result {
            // A call without an id is carried out, and nobody is told.
            _ if id.is_null() => ().into_response(),
            Ok(result) => axum_json(&json!({"jsonrpc": "2.0", "result": result, "id": id})),
            Err((code, message)) => refused(&id, code, &message),
        }
    };
    let response = match fault {
        None => answered(),
        Some(Fault::Slow(time)) => {
            let response = answered();
            tokio::time::sleep(time).await;
            response
        }
        // A body that fails ends the connection in the middle of the answer.
        Some(Fault::Cut) => {
            drop(answered());
            let broken =
                futures::stream::once(async { Err::<Bytes, _>(std::io::Error::other("cut")) });
            axum::body::Body::from_stream(broken).into_response()
        }
        Some(Fault::Empty500) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        Some(Fault::Nonsense(body)) => body.into_response(),
        Some(Fault::Refused(code, message)) => refused(&id, code, message),
    };
    shared.called.send_modify(|count| *count += 1);
    response
}

fn axum_json(body: &Value) -> Response {
    body.to_string().into_response()
}

// The method's own errors come with 200, those of the protocol with 500.
fn refused(id: &Value, code: i64, message: &str) -> Response {
    let body = json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": message}})
        .to_string();
    let status = if code > 0 { StatusCode::OK } else { StatusCode::INTERNAL_SERVER_ERROR };
    (status, body).into_response()
}

type Carried = Result<Value, (i64, String)>;

fn not_found<T>() -> Result<T, (i64, String)> {
    Err((11_001, "error code 11001: sector state not found".into()))
}

fn random(kind: u8, number: u64, count: u8) -> String {
    let mut bytes = [kind; 32];
    (bytes[1], bytes[2], bytes[31]) = (number as u8, count, 0);
    STANDARD.encode(bytes)
}

impl World {
    /// A sector's pieces, deals and filler: `(size, commitment as a CID, whether it is a deal)`.
    pub fn pieces(of: &[(u64, String, Option<u64>)]) -> Value {
        let piece = |(size, cid, payload): &(u64, String, Option<u64>)| {
            json!({
                "Piece": {"Size": size, "PieceCID": {"/": cid}},
                "DealInfo": {
                    "DealID": 0, "PublishCid": null, "AllocationID": payload.map_or(0, |_| 42),
                    "PieceCID": {"/": cid}, "PieceSize": size, "Client": "f01001",
                    "Provider": "f010000", "Offset": 0, "Length": size,
                    "PayloadSize": payload.unwrap_or(0), "StartEpoch": 1, "EndEpoch": 2,
                    "IsBuiltinMarket": false, "IsCompatible": false,
                },
            })
        };
        of.iter().map(piece).collect()
    }

    fn open(&mut self, id: &Value) -> Result<&mut Sector, (i64, String)> {
        let open = self.sectors.get_mut(&id["Number"].as_u64().unwrap_or(0));
        match open.filter(|sector| !sector.finalized) {
            Some(sector) => Ok(sector),
            None => not_found(),
        }
    }

    fn state(number: u64, sector: &Sector) -> Value {
        json!({
            "ID": {"Miner": MINER, "Number": number}, "SectorType": 5, "Deals": null, "Pieces": null,
            "LatestState": sector.latest_state, "Finalized": sector.finalized, "Removed": false,
            "AbortReason": sector.abort_reason, "Upgraded": false, "Unsealing": sector.unsealing,
        })
    }

    fn carry_out(&mut self, method: &str, params: &Value) -> Carried {
        let count = params.as_array().map_or(0, Vec::len);
        let expected = match method {
            "Version" | "WdPoStAllJobs" => 0,
            "SubmitPreCommit"
            | "SubmitPersistedEx"
            | "SubmitProof"
            | "AchieveUnsealSector"
            | "WdPoStAllocateJobs"
            | "WdPoStFinishJob"
            | "StoreReserveSpace" => 3,
            "AcquireDeals"
            | "WaitSeed"
            | "ReportState"
            | "ReportAborted"
            | "SubmitSnapUpProof"
            | "AcquireUnsealDest"
            | "WdPoStHeartbeatJobs"
            | "ListSectors"
            | "FindSector" => 2,
            _ => 1,
        };
        if count != expected {
            return Err((-32602, format!("wrong param count: {count} != {expected}")));
        }
        let first = &params[0];
        let number = first["Number"].as_u64().unwrap_or(0);
        match method {
            "Version" => {
                Ok(json!(self.version.clone().unwrap_or_else(|| "v0.13.1-prod-4235a895".into())))
            }
            "AllocateSector" => Ok(self.allocate(first)),
            "AcquireDeals" => {
                self.open(first)?;
                Ok(self.deals.pop_front().unwrap_or(Value::Null))
            }
            "AssignTicket" => {
                let sector = self.open(first)?;
                sector.tickets += 1;
                Ok(json!({"Ticket": random(7, number, sector.tickets), "Epoch": 120}))
            }
            "SubmitPreCommit" => {
                let (content, reset) = (params[1].clone(), params[2] == true);
                Ok(submit(&mut self.open(&first["ID"])?.pre_commit, content, reset))
            }
            "SubmitProof" => {
                let (content, reset) = (params[1].clone(), params[2] == true);
                Ok(submit(&mut self.open(first)?.proof, content, reset))
            }
            "PollPreCommitState" | "PollProofState" => {
                self.open(first)?;
                Ok(json!({"State": 3, "Desc": ""}))
            }
            "WaitSeed" => {
                self.open(first)?;
                let seed = json!({"Seed": random(9, number, 0), "Epoch": 270});
                Ok(json!({"ShouldWait": false, "Delay": 0, "Seed": seed}))
            }
            "SubmitPersistedEx" => {
                let known = self.stores.iter().any(|store| params[1] == store.as_str());
                let store = params[1].as_str().map(Into::into);
                let sector = self.open(first)?;
                sector.store = store;
                Ok(json!(known))
            }
            "ReportState" => self.report(first, number, &params[1]),
            "ReportFinalized" => {
                let sector = self.open(first)?;
                (sector.finalized, sector.unsealing) = (true, false);
                Ok(Value::Null)
            }
            "ReportAborted" => {
                let sector = self.open(first)?;
                sector.finalized = true;
                sector.abort_reason = params[1].as_str().unwrap_or_default().to_owned();
                Ok(Value::Null)
            }
            "AllocateSanpUpSector" => Ok(self.job(|world| &mut world.snapups)),
            "AllocateRebuildSector" => Ok(self.job(|world| &mut world.rebuilds)),
            "AllocateUnsealSector" => {
                let job = self.job(|world| &mut world.unseals);
                if let Some(number) = job["Sector"]["ID"]["Number"].as_u64() {
                    self.sectors.entry(number).or_default().unsealing = true;
                }
                Ok(job)
            }
            "SubmitSnapUpProof" => {
                let sector = self.open(first)?;
                let taken = sector.proof.as_ref().is_some_and(|(taken, _)| *taken == params[1]);
                if taken {
                    return Err((1, "duplicate commit job".into()));
                }
                sector.proof = Some((params[1].clone(), 1));
                Ok(json!({"Res": 1, "Desc": null}))
            }
            "AcquireUnsealDest" => {
                Ok(json!([format!("store:///{}", params[1]["/"].as_str().unwrap_or_default())]))
            }
            "AchieveUnsealSector" => match self.open(first)?.unsealing {
                true => Ok(Value::Null),
                false => Err((1, "achieve unseal info: task not found".into())),
            },
            "WdPoStAllocateJobs" => Ok(self.wdpost(params[2].as_str().unwrap_or_default())),
            "WdPoStHeartbeatJobs" => {
                let known =
                    first.as_array().into_iter().flatten().all(|job| {
                        self.wdpost_workers.contains_key(job.as_str().unwrap_or_default())
                    });
                if known { Ok(Value::Null) } else { Err((1, "key not found".into())) }
            }
            "WdPoStFinishJob" => {
                self.wdpost_ends.push(params.clone());
                Ok(Value::Null)
            }
            "WdPoStAllJobs" => {
                let job = |(id, worker): (&String, &String)| json!({"Id": id, "State": "running", "WorkerName": worker, "Partitions": [1]});
                let jobs: Vec<Value> = self.wdpost_workers.iter().map(job).collect();
                Ok(json!({"Jobs": jobs, "MaxTry": 2}))
            }
            "StoreReserveSpace" => {
                self.open(first)?;
                let named = params[2].as_array().into_iter().flatten();
                let known = named.filter_map(Value::as_str).find(|name| self.knows_store(name));
                Ok(known.map_or(Value::Null, store))
            }
            "StoreBasicInfo" => {
                let name = first.as_str().unwrap_or_default();
                Ok(if self.knows_store(name) { store(name) } else { Value::Null })
            }
            "ListSectors" => {
                let ended = first == "offline";
                let listed = self.sectors.iter().filter(|(_, sector)| sector.finalized == ended);
                Ok(listed.map(|(number, sector)| World::state(*number, sector)).collect())
            }
            "FindSector" => {
                let number = params[1]["Number"].as_u64().unwrap_or(0);
                let ended = first == "offline";
                let found = self.sectors.get(&number).filter(|sector| sector.finalized == ended);
                let missing = || (1, "load state from online: key not found".to_owned());
                found.map(|sector| World::state(number, sector)).ok_or_else(missing)
            }
            "WorkerPing" => Ok(Value::Null),
            other => Err((-32601, format!("(error code -32601) method 'Venus.{other}' not found"))),
        }
    }

    fn knows_store(&self, name: &str) -> bool {
        self.stores.iter().any(|store| store == name)
    }

    fn allocate(&mut self, spec: &Value) -> Value {
        let allows = |list: &Value, given: u64| {
            list.as_array().is_none_or(|list| list.is_empty() || list.contains(&json!(given)))
        };
        if !allows(&spec["AllowedMiners"], MINER) || !allows(&spec["AllowedProofTypes"], 5) {
            return Value::Null;
        }
        let number = self.sectors.last_key_value().map_or(1, |(last, _)| last + 1);
        self.sectors.insert(number, Sector::default());
        json!({"ID": {"Miner": MINER, "Number": number}, "ProofType": 5})
    }

    // A job on a sector that has ended opens it again.
    fn job(&mut self, of: impl Fn(&mut World) -> &mut VecDeque<Value>) -> Value {
        let Some(job) = of(self).pop_front() else { return Value::Null };
        if let Some(number) = job["Sector"]["ID"]["Number"].as_u64() {
            let sector = self.sectors.entry(number).or_default();
            sector.finalized = false;
            sector.latest_state = None;
            sector.proof = None;
        }
        job
    }

    fn wdpost(&mut self, worker: &str) -> Value {
        let Some(job) = self.wdposts.pop_front() else { return json!([]) };
        let id = job["Id"].as_str().unwrap_or_default().to_owned();
        self.wdpost_workers.insert(id, worker.to_owned());
        json!([job])
    }

    fn report(&mut self, id: &Value, number: u64, report: &Value) -> Carried {
        let Some(sector) = self.sectors.get_mut(&number) else { return not_found() };
        if !sector.finalized {
            sector.latest_state = Some(report.clone());
        }
        Ok(json!({"Id": id, "Finalized": sector.finalized, "AbortReason": sector.abort_reason}))
    }
}

fn store(name: &str) -> Value {
    json!({
        "Name": name, "Path": format!("/srv/{name}"), "Strict": false, "ReadOnly": false,
        "Weight": 0, "Meta": null,
    })
}

// The same content is taken again, other content is not, and with `reset` a message is sent anew.
fn submit(taken: &mut Option<(Value, u32)>, content: Value, reset: bool) -> Value {
    let reply = |res: i64, desc: &str| json!({"Res": res, "Desc": desc});
    match taken {
        None => *taken = Some((content, 1)),
        Some((before, messages)) if reset => (*before, *messages) = (content, *messages + 1),
        Some((before, _)) if *before != content => return reply(3, "content changed"),
        Some(_) => {}
    }
    reply(1, "")
}
