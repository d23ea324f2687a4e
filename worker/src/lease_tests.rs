use super::*;

fn lease(worker: u8, instance: u8) -> Lease {
    let id = |n: u8| format!("00000000-0000-0000-0000-0000000000{n:02x}").parse().unwrap();
    Lease {
        worker_id: id(worker),
        instance_id: id(instance),
        epoch: None,
        host: "h".into(),
        pid: 1,
    }
}

fn held(worker: u8, instance: u8, epoch: u64) -> Keeper {
    let mut keeper = Keeper::new(lease(worker, instance));
    assert_eq!(keeper.take(Answer::Stored(epoch), Instant::now()), Renewal::Renewed { epoch });
    keeper
}

#[test]
fn the_epoch_is_the_revision_of_the_acquisition_and_renewals_keep_it() {
    let mut keeper = held(1, 1, 7);
    assert_eq!(keeper.next(), Ask::Update(Lease { epoch: Some(7), ..lease(1, 1) }, 7));
    assert_eq!(keeper.take(Answer::Stored(9), Instant::now()), Renewal::Renewed { epoch: 7 });
    assert_eq!(keeper.next(), Ask::Update(Lease { epoch: Some(7), ..lease(1, 1) }, 9));
}

#[test]
fn an_expired_lease_is_made_anew_after_an_outage() {
    let mut keeper = held(1, 1, 7);
    assert_eq!(keeper.take(Answer::Refused, Instant::now()), Renewal::InDoubt);
    assert_eq!(keeper.next(), Ask::Read);
    assert_eq!(keeper.take(Answer::Found(None), Instant::now()), Renewal::InDoubt);
    assert_eq!(keeper.next(), Ask::Create(lease(1, 1)));
    assert_eq!(keeper.take(Answer::Stored(30), Instant::now()), Renewal::Renewed { epoch: 30 });
}

#[test]
fn what_was_stored_without_an_answer_is_adopted_and_renewed_before_it_counts() {
    let mut keeper = held(1, 1, 7);
    keeper.take(Answer::Refused, Instant::now());
    assert_eq!(
        keeper.take(
            Answer::Found(Some((Lease { epoch: Some(7), ..lease(1, 1) }, 12))),
            Instant::now()
        ),
        Renewal::InDoubt
    );
    assert_eq!(keeper.next(), Ask::Update(Lease { epoch: Some(7), ..lease(1, 1) }, 12));
    let mut starting = Keeper::new(lease(1, 1));
    starting.take(Answer::Refused, Instant::now());
    starting.take(Answer::Found(Some((lease(1, 1), 5))), Instant::now());
    assert_eq!(
        starting.take(Answer::Stored(6), Instant::now()),
        Renewal::Renewed { epoch: 5 },
        "its creation was at revision 5"
    );
}

#[test]
fn a_usurper_makes_it_stand_by_until_the_lease_is_gone() {
    let mut keeper = held(1, 1, 7);
    keeper.take(Answer::Refused, Instant::now());
    assert_eq!(
        keeper.take(Answer::Found(Some((lease(1, 2), 8))), Instant::now()),
        Renewal::StandingBy,
        "a cloned disk plays no ping-pong"
    );
    assert_eq!(keeper.other, Some(lease(1, 2)));
    assert_eq!(keeper.next(), Ask::StandBy(lease(1, 1)));
    assert_eq!(
        keeper.take(Answer::Found(Some((lease(1, 2), 9))), Instant::now()),
        Renewal::StandingBy
    );
    keeper.take(Answer::Found(None), Instant::now());
    assert_eq!(keeper.next(), Ask::Create(lease(1, 1)));
}

#[test]
fn a_restarted_worker_takes_its_lease_over_at_once_and_another_one_does_not() {
    let mut same = Keeper::new(lease(1, 2));
    same.take(Answer::Refused, Instant::now());
    assert_eq!(same.take(Answer::Found(Some((lease(1, 1), 8))), Instant::now()), Renewal::InDoubt);
    assert_eq!(same.next(), Ask::Update(lease(1, 2), 8));
    assert_eq!(same.take(Answer::Stored(9), Instant::now()), Renewal::Renewed { epoch: 9 });
    let now = Instant::now();
    assert_eq!(same.to_give_back(TTL, now), None, "the one that had it may be alive, and act");
    assert_eq!(same.to_give_back(TTL, now + TTL), Some(9), "it cannot any more");
    assert_eq!(held(1, 1, 7).to_give_back(TTL, now), Some(7), "nobody had it");
    let mut other = Keeper::new(lease(2, 2));
    other.take(Answer::Refused, Instant::now());
    assert_eq!(
        other.take(Answer::Found(Some((lease(1, 1), 8))), Instant::now()),
        Renewal::StandingBy
    );
}

#[test]
fn nothing_may_be_done_after_the_lease_may_have_expired() {
    let now = Instant::now();
    let held = |until| LeaseState::Held { epoch: 1, until };
    assert!(held(Some(now + Duration::from_millis(1))).may_act(now));
    assert!(!held(Some(now)).may_act(now) && !held(None).may_act(now));
    assert!(!held(None).is_confirmed() && held(None).is_holder());
    assert!(
        LeaseState::Unleased.may_act(now)
            && !LeaseState::StandingBy.may_act(now)
            && !LeaseState::Unsettled.may_act(now)
    );
}

const TTL: Duration = Duration::from_secs(15);

// A bucket that is empty at first.
struct Bucket(std::sync::Mutex<(Option<(Lease, u64)>, u64)>);

impl LeaseBucket for Bucket {
    fn ttl(&self) -> Duration {
        TTL
    }

    fn ask(&self, ask: Ask) -> BoxFuture<'_, Result<Answer, String>> {
        let mut bucket = self.0.lock().unwrap();
        let (entry, last) = &mut *bucket;
        let answer = match (ask, &entry) {
            (Ask::Create(lease), None) => {
                *last += 1;
                *entry = Some((lease, *last));
                Answer::Stored(*last)
            }
            (Ask::Update(lease, revision), Some((_, current))) if revision == *current => {
                *last += 1;
                *entry = Some((lease, *last));
                Answer::Stored(*last)
            }
            (Ask::Create(_) | Ask::Update(..) | Ask::Release(_), _) => Answer::Refused,
            (Ask::Read | Ask::StandBy(_), entry) => Answer::Found((*entry).clone()),
        };
        Box::pin(async { Ok(answer) })
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_kept_over_a_lost_connection_for_the_time_it_has_and_no_longer() {
    let bucket = Bucket(Default::default());
    let (state, seen) = watch::channel(LeaseState::Unsettled);
    let mut keeper = Keeper::new(lease(1, 1));
    assert_eq!(
        keep(&mut keeper, &bucket, &state, sleep(Duration::from_secs(60))).await,
        Ended::Disconnected
    );
    assert!(bucket.0.lock().unwrap().1 >= 10, "renewed every third of the time it lasts");
    let held = *seen.borrow();
    assert!(held.may_act(Instant::now()) && held.is_confirmed());
    // It is back while the lease is good.
    until_connected(&state, sleep(Duration::from_secs(1))).await;
    assert_eq!(*seen.borrow(), held);
    // It is back later: until it is renewed nothing is said under it.
    until_connected(&state, sleep(TTL)).await;
    assert_eq!(*seen.borrow(), LeaseState::Held { epoch: 1, until: None });
    // Meanwhile another one came.
    *bucket.0.lock().unwrap() = (Some((lease(2, 2), 50)), 50);
    keep(&mut keeper, &bucket, &state, sleep(Duration::from_secs(1))).await;
    assert_eq!(*seen.borrow(), LeaseState::StandingBy);
    bucket.0.lock().unwrap().0 = None;
    let waiting = keep(&mut keeper, &bucket, &state, std::future::pending());
    let mut acting = seen.clone();
    tokio::select! {
        ended = waiting => panic!("{ended:?}"),
        held = acting.wait_for(|state| state.is_confirmed()) => assert_eq!(held.unwrap().epoch(), Some(51)),
    }
}

// A bucket whose leader has died: what it is asked is lost until then, and what it answers until a
// moment later.
struct Leaderless {
    bucket: Bucket,
    asks: std::sync::Mutex<Vec<Ask>>,
    stores_from: Instant,
    answers_from: Instant,
}

impl LeaseBucket for Leaderless {
    fn ttl(&self) -> Duration {
        TTL
    }

    fn ask(&self, ask: Ask) -> BoxFuture<'_, Result<Answer, String>> {
        self.asks.lock().unwrap().push(ask.clone());
        if Instant::now() < self.stores_from {
            return Box::pin(async { Err("no responders".into()) });
        }
        let answer = self.bucket.ask(ask);
        if Instant::now() < self.answers_from { Box::pin(std::future::pending()) } else { answer }
    }
}

#[tokio::test(start_paused = true)]
async fn a_renewal_is_tried_every_500_ms_until_the_bucket_has_a_leader_again_and_keeps_its_epoch() {
    let began = Instant::now();
    let bucket = Leaderless {
        bucket: Bucket((Some((lease(1, 1), 7)), 7).into()),
        asks: Default::default(),
        stores_from: began + Duration::from_millis(3_900),
        answers_from: began + Duration::from_millis(4_400),
    };
    let mut keeper = held(1, 1, 7);
    let until = Some(began + TTL);
    let (state, mut seen) = watch::channel(LeaseState::Held { epoch: 7, until });
    tokio::select! {
        ended = keep(&mut keeper, &bucket, &state, std::future::pending()) => panic!("{ended:?}"),
        renewed = seen.wait_for(|state| matches!(state, LeaseState::Held { until: now, .. } if *now > until)) => {
            assert_eq!(renewed.unwrap().epoch(), Some(7));
        }
    }
    assert_eq!(began.elapsed(), Duration::from_millis(4_500));
    // One was stored and not answered, so the next one was refused: the key was read, and what was
    // found there renewed.
    let renewal = |revision| Ask::Update(Lease { epoch: Some(7), ..lease(1, 1) }, revision);
    let asks = bucket.asks.lock().unwrap();
    assert_eq!(
        (&asks[..10], &asks[10..]),
        (&vec![renewal(7); 10][..], &[Ask::Read, renewal(8)][..])
    );
}

#[tokio::test(start_paused = true)]
async fn a_bucket_that_is_silent_for_longer_than_a_lease_lasts_is_looked_for_again() {
    let began = Instant::now();
    let never = began + Duration::from_secs(3600);
    let bucket = Leaderless {
        bucket: Bucket(Default::default()),
        asks: Default::default(),
        stores_from: never,
        answers_from: never,
    };
    let (state, seen) = watch::channel(LeaseState::Held { epoch: 7, until: Some(began + TTL) });
    assert_eq!(
        keep(&mut held(1, 1, 7), &bucket, &state, std::future::pending()).await,
        Ended::Silent
    );
    assert_eq!(began.elapsed(), TTL);
    assert!(
        seen.borrow().is_confirmed() && !seen.borrow().may_act(Instant::now()),
        "it says how it is, and does nothing"
    );
}
