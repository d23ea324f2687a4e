//! A damocles-worker that is played: its socket by HTTP, and threads that do what a test says. It is
//! faithful to what running the real one showed (`fixtures/damocles`), the traps first of all:
//!
//! - a box of one pause a thread; it is taken in waits and before a step, and by a resume
//! - a pause in a stage throws the stage's result away, and PC2 that runs twice destroys the sector
//! - any text is a state: an unknown one does nothing, one of another plan ends the sector
//! - calls count the entries of the list, whose `index` is something else
//! - the list in the shape of several releases

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{Router, body::Bytes, extract::State as Shared, routing::post};
use serde_json::{Value, json};
use shared_msgs::plan::{Plan, Stage, State};
use tokio::{
    net::TcpListener,
    runtime::{Builder, Runtime},
    sync::watch,
    time::Instant,
};

/// A release, by the shape of its list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Release {
    /// v0.2 to v0.4.
    V0_2,
    /// v0.8.
    V0_8,
    /// v0.9 and later.
    #[default]
    Newest,
}

/// What a thread does.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Does {
    Idle,
    Waiting,
    Running,
    Paused,
}

#[derive(Clone, Debug)]
struct Thread {
    index: u64,
    plan: Plan,
    job: Option<String>,
    state: String,
    stage: String,
    does: Does,
    since: Instant,
    last_error: Option<String>,
    box_is_full: bool,
    pc2_runs: usize,
}

/// What has become of sectors, and what nobody may do to them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Harm {
    /// Stages whose result was thrown away by a pause.
    pub thrown_away: Vec<String>,
    /// Sectors that can never be proven.
    pub destroyed: Vec<String>,
    /// Sectors that were given up.
    pub aborted: Vec<String>,
    /// Sectors that were reported as finalized, proven or not.
    pub finished: Vec<String>,
    /// Sectors that were dropped without a word.
    pub dropped: Vec<String>,
    /// Sector numbers that were allocated and forgotten.
    pub lost_numbers: usize,
}

struct World {
    release: Release,
    threads: Vec<Thread>,
    calls: Vec<(String, Value)>,
    harm: Harm,
    answers_no_resume: usize,
    fails_first: Option<(usize, String)>,
    stuck_after_resume: bool,
}

/// A damocles-worker that is played.
pub struct PlayedDamocles {
    world: Arc<Mutex<World>>,
    address: SocketAddr,
    stuck: watch::Sender<bool>,
    // Its connections end with it, as with a process.
    process: Option<Runtime>,
}

#[derive(Clone)]
struct Served {
    world: Arc<Mutex<World>>,
    stuck: watch::Sender<bool>,
}

impl PlayedDamocles {
    /// A worker with so many threads of plan `sealer`, between two jobs.
    pub async fn start(threads: usize) -> PlayedDamocles {
        let thread = |index: usize| Thread {
            index: index as u64,
            plan: Plan::Sealer,
            job: None,
            state: String::new(),
            stage: "-".into(),
            does: Does::Idle,
            since: Instant::now(),
            last_error: None,
            box_is_full: false,
            pc2_runs: 0,
        };
        let world = World {
            release: Release::Newest,
            threads: (0..threads).map(thread).collect(),
            calls: vec![],
            harm: Harm::default(),
            answers_no_resume: 0,
            fails_first: None,
            stuck_after_resume: false,
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut played = PlayedDamocles {
            world: Arc::new(Mutex::new(world)),
            address,
            stuck: watch::Sender::new(false),
            process: None,
        };
        played.serve(listener.into_std().unwrap());
        played
    }

    fn serve(&mut self, listener: std::net::TcpListener) {
        let served = Served { world: self.world.clone(), stuck: self.stuck.clone() };
        let router = Router::new().fallback(post(answer)).with_state(served);
        let process = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        process.spawn(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            axum::serve(listener, router).await.unwrap();
        });
        self.process = Some(process);
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where its socket is.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on its list has the shape of that release.
    pub fn is_of(&self, release: Release) {
        self.world().release = release;
    }

    /// The second of four entries of its configuration was skipped: the list shows other numbers
    /// than calls count.
    pub fn skip_the_second_index(&self) {
        for (position, thread) in self.world().threads.iter_mut().enumerate() {
            thread.index = if position == 0 { 0 } else { position as u64 + 1 };
        }
    }

    /// The thread has that plan.
    pub fn has_plan(&self, thread: usize, plan: Plan) {
        self.world().threads[thread].plan = plan;
    }

    /// The thread has the sector of that number in hand, and stands idle in that state.
    pub fn stands_in(&self, thread: usize, number: u64, state: State) {
        let mut world = self.world();
        let thread = &mut world.threads[thread];
        thread.job = Some(format!("s-t010000-{number}"));
        thread.go_to(state.name());
        thread.take_in_a_wait();
    }

    /// The stage of the thread's state begins.
    pub fn runs(&self, thread: usize) {
        self.world().threads[thread].run();
    }

    /// The stage ends. A pause in the box takes its result away; else the next state begins.
    pub fn ends_its_stage(&self, thread: usize) {
        let mut world = self.world();
        let World { threads, harm, .. } = &mut *world;
        threads[thread].end_stage(harm);
    }

    /// The thread wants a slot.
    pub fn wants_a_slot(&self, thread: usize) {
        self.world().threads[thread].does(Does::Waiting);
    }

    /// An error pauses the thread. What is in its box stays there.
    pub fn fails(&self, thread: usize, error: &str) {
        self.world().threads[thread].fail(error);
    }

    /// The thread waits between two jobs: no pause is taken in that wait.
    pub fn is_between_jobs(&self, thread: usize) {
        let mut world = self.world();
        let thread = &mut world.threads[thread];
        (thread.job, thread.state) = (None, String::new());
        thread.does(Does::Idle);
    }

    /// The thread asks for a job, and there is none for it.
    pub fn asks_for_a_job(&self, thread: usize) {
        let mut world = self.world();
        let thread = &mut world.threads[thread];
        // Before the step begins.
        if thread.box_is_full {
            return thread.pause();
        }
        (thread.job, thread.state, thread.stage) = (None, "Empty".into(), "-".into());
        thread.does(Does::Idle);
    }

    /// The next so many resumes come in the instant in which nobody waits for them.
    pub fn misses_resumes(&self, count: usize) {
        self.world().answers_no_resume = count;
    }

    /// An error pauses the thread in the instant before the next pause comes, which stays in its box.
    pub fn fails_before_the_next_pause(&self, thread: usize, error: &str) {
        self.world().fails_first = Some((thread, error.to_owned()));
    }

    /// The next resume is taken, and from then on nothing is answered.
    pub fn answers_nothing_after_the_next_resume(&self) {
        self.world().stuck_after_resume = true;
    }

    /// Takes calls, and answers none.
    pub fn is_stuck(&self, stuck: bool) {
        self.stuck.send_replace(stuck);
    }

    /// Ends it: nobody listens on its port any more.
    pub fn stop(&mut self) {
        if let Some(process) = self.process.take() {
            process.shutdown_background();
        }
    }

    /// Starts it again on its port: boxes are empty and nothing is paused any more.
    pub async fn start_again(&mut self) {
        for thread in &mut self.world().threads {
            (thread.box_is_full, thread.last_error) = (false, None);
            thread.does(if thread.does == Does::Running { Does::Running } else { Does::Idle });
        }
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.serve(listener.into_std().unwrap());
    }

    /// What was called so far, apart from lists: the method and its parameters.
    pub fn calls(&self) -> Vec<(String, Value)> {
        self.world().calls.clone()
    }

    /// How often a method was called.
    pub fn called(&self, method: &str) -> usize {
        self.world().calls.iter().filter(|(called, _)| called == method).count()
    }

    /// What was done to its sectors.
    pub fn harm(&self) -> Harm {
        self.world().harm.clone()
    }

    /// Whether the thread is paused.
    pub fn is_paused(&self, thread: usize) -> bool {
        self.world().threads[thread].does == Does::Paused
    }

    /// The state that it would show.
    pub fn state(&self, thread: usize) -> String {
        self.world().threads[thread].state.clone()
    }

    /// Somebody else sends a pause by the socket, as `util worker pause` of damocles does.
    pub fn somebody_pauses(&self, thread: usize) -> bool {
        self.world().pause(thread)
    }
}

impl Drop for PlayedDamocles {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Thread {
    fn does(&mut self, does: Does) {
        (self.does, self.since) = (does, Instant::now());
    }

    fn pause(&mut self) {
        self.box_is_full = false;
        self.does(Does::Paused);
    }

    fn fail(&mut self, error: &str) {
        self.last_error = Some(error.to_owned());
        self.does(Does::Paused);
    }

    fn go_to(&mut self, state: &str) {
        state.clone_into(&mut self.state);
        let known = self.plan.state_named(state).and_then(|state| self.plan.stage(state));
        self.stage = known.map_or("-", Stage::name).to_owned();
        self.does(Does::Idle);
    }

    fn waits_by_itself(&self) -> bool {
        let waits = ["PCSubmitted", "PersistanceSubmitted", "ProofSubmitted", "Empty"];
        self.does == Does::Idle && waits.contains(&self.state.as_str())
    }

    fn take_in_a_wait(&mut self) {
        if self.box_is_full && self.waits_by_itself() {
            self.pause();
        }
    }

    fn run(&mut self) {
        // Before the step begins.
        if self.box_is_full {
            return self.pause();
        }
        self.does(Does::Running);
    }

    fn end_stage(&mut self, harm: &mut Harm) {
        if self.state == "PC1Done" {
            self.pc2_runs += 1;
            if self.pc2_runs > 1 {
                harm.destroyed.extend(self.job.clone());
            }
        }
        if self.box_is_full {
            harm.thrown_away.push(self.stage.clone());
            return self.pause();
        }
        let state = self.plan.state_named(&self.state).unwrap();
        let goes_on = |next: &State| {
            let later = |state| self.plan.rows().iter().position(|row| row.state == state);
            later(*next) > later(state) && *next != State::SyntheticPoRepNeeded
        };
        let mut next = self.plan.row(state).unwrap().next.iter().map(|(_, next)| *next);
        let next = next.find(goes_on).unwrap();
        self.go_to(next.name());
    }

    fn end_job(&mut self) {
        (self.job, self.state) = (None, String::new());
        self.does(Does::Idle);
    }

    fn resume(&mut self, state: Option<&str>, harm: &mut Harm) {
        self.last_error = None;
        // Taken before the state is applied: that state is lost.
        if self.box_is_full {
            return self.pause();
        }
        let Some(name) = state.filter(|name| is_state(name)) else {
            return self.does(if self.waits_by_itself() { Does::Idle } else { Does::Running });
        };
        let job = self.job.clone();
        if self.plan.state_named(name).is_none() {
            harm.aborted.extend(job);
            return self.end_job();
        }
        match name {
            name if name == self.state => {
                self.last_error = Some("critical: event apply\n\nCaused by:\n    state unchanged, may enter an infinite loop".into());
                self.does(Does::Paused);
            }
            "Aborted" | "C2Done" if self.state != "ProofSubmitted" || name == "Aborted" => {
                harm.aborted.extend(job);
                self.end_job();
            }
            "Finished" => {
                harm.finished.extend(job);
                self.end_job();
            }
            "Empty" => {
                harm.dropped.extend(job);
                self.go_to(name);
            }
            _ => {
                self.go_to(name);
                self.does(if self.waits_by_itself() { Does::Idle } else { Does::Running });
            }
        }
    }

    fn shown(&self, release: Release) -> Value {
        let elapsed = self.since.elapsed().as_secs();
        let location = format!("/srv/store{}", self.index);
        if release == Release::Newest {
            let thread_state = match self.does {
                Does::Idle => json!({"state": "Idle"}),
                Does::Paused => json!({"state": "Paused", "elapsed": elapsed}),
                Does::Waiting => json!({"state": "Waiting", "elapsed": elapsed}),
                Does::Running => {
                    json!({"state": "Running", "elapsed": elapsed, "proc": "ext(pid: 4711)"})
                }
            };
            return json!({
                "location": location, "plan": self.plan.name(), "job_id": self.job, "index": self.index,
                "thread_state": thread_state, "job_state": self.state, "job_stage": self.stage,
                "last_error": self.last_error,
            });
        }
        let paused = self.does == Does::Paused;
        let mut shown = json!({
            "location": location, "index": self.index, "paused": paused,
            "paused_elapsed": paused.then_some(elapsed), "state": self.state, "last_error": self.last_error,
        });
        if release == Release::V0_8 {
            (shown["plan"], shown["job_id"]) = (json!(self.plan.name()), json!(self.job));
            return shown;
        }
        let number = |job: &String| job.rsplit('-').next().unwrap().parse::<u64>().unwrap();
        let sector = |job| json!({"Miner": 10000, "Number": number(job)});
        shown["sector_id"] = self.job.as_ref().map_or(Value::Null, sector);
        if self.state.is_empty() {
            shown["state"] = json!("Empty");
        }
        shown
    }
}

fn is_state(name: &str) -> bool {
    State::ALL.iter().any(|state| state.name() == name)
}

impl World {
    fn pause(&mut self, position: usize) -> bool {
        if let Some((_, error)) = self.fails_first.take_if(|(thread, _)| *thread == position) {
            self.threads[position].fail(&error);
        }
        let thread = &mut self.threads[position];
        if std::mem::replace(&mut thread.box_is_full, true) {
            return false;
        }
        thread.take_in_a_wait();
        true
    }

    fn resume(&mut self, position: usize, state: Option<&str>) -> bool {
        let World { threads, harm, answers_no_resume, .. } = self;
        let thread = &mut threads[position];
        if thread.does != Does::Paused {
            return false;
        }
        if *answers_no_resume > 0 {
            *answers_no_resume -= 1;
            return false;
        }
        thread.resume(state, harm);
        true
    }

    fn answer(&mut self, method: &str, params: &Value) -> Result<Value, Value> {
        if method == "VenusWorker.WorkerList" {
            return Ok(self.threads.iter().map(|thread| thread.shown(self.release)).collect());
        }
        if method == "VenusWorker.WorkerVersion" && self.release != Release::V0_2 {
            return Ok(json!("v0.13.1-played"));
        }
        let name = method.strip_prefix("VenusWorker.").unwrap_or(method);
        if !["WorkerPause", "WorkerResume"].contains(&name) {
            return Err(json!({"code": -32601, "message": "Method not found"}));
        }
        self.calls.push((name.to_owned(), params.clone()));
        let position = params[0].as_u64().unwrap() as usize;
        if position >= self.threads.len() {
            let message = format!("worker #{position} not found");
            return Err(json!({"code": -32602, "message": message}));
        }
        Ok(json!(match name {
            "WorkerPause" => self.pause(position),
            _ => self.resume(position, params[1].as_str()),
        }))
    }
}

async fn answer(Shared(served): Shared<Served>, body: Bytes) -> String {
    let request: Value = serde_json::from_slice(&body).unwrap();
    let method = request["method"].as_str().unwrap();
    let mut stuck = served.stuck.subscribe();
    stuck.wait_for(|stuck| !*stuck).await.ok();
    let answer = {
        let mut world = served.world.lock().unwrap_or_else(PoisonError::into_inner);
        if method == "VenusWorker.WorkerResume" && std::mem::take(&mut world.stuck_after_resume) {
            served.stuck.send_replace(true);
        }
        world.answer(method, &request["params"])
    };
    stuck.wait_for(|stuck| !*stuck).await.ok();
    let answer = match answer {
        Ok(result) => json!({"jsonrpc": "2.0", "result": result, "id": request["id"]}),
        Err(error) => json!({"jsonrpc": "2.0", "error": error, "id": request["id"]}),
    };
    answer.to_string()
}
