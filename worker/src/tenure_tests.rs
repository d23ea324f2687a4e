use super::*;

fn lease(worker: u8, instance: u8) -> Lease {
    let id = |n: u8| format!("00000000-0000-0000-0000-0000000000{n:02x}").parse().unwrap();
    Lease { worker_id: id(worker), instance_id: id(instance), epoch: None, host: "h".into(), pid: 1 }
}

fn held(worker: u8, instance: u8, epoch: u64) -> Keeper {
    let mut keeper = Keeper::new(lease(worker, instance));
    assert_eq!(keeper.take(Answer::Stored(epoch)), Step::Renewed { epoch });
    keeper
}

#[test]
fn the_epoch_is_the_revision_of_the_acquisition_and_renewals_keep_it() {
    let mut keeper = held(1, 1, 7);
    assert_eq!(keeper.next(), Ask::Update(Lease { epoch: Some(7), ..lease(1, 1) }, 7));
    assert_eq!(keeper.take(Answer::Stored(9)), Step::Renewed { epoch: 7 });
    assert_eq!(keeper.next(), Ask::Update(Lease { epoch: Some(7), ..lease(1, 1) }, 9));
}

#[test]
fn an_expired_lease_is_made_anew_after_an_outage() {
    let mut keeper = held(1, 1, 7);
    assert_eq!(keeper.take(Answer::Refused), Step::InDoubt);
    assert_eq!(keeper.next(), Ask::Read);
    assert_eq!(keeper.take(Answer::Found(None)), Step::InDoubt);
    assert_eq!(keeper.next(), Ask::Create(lease(1, 1)));
    assert_eq!(keeper.take(Answer::Stored(30)), Step::Renewed { epoch: 30 });
}

#[test]
fn what_was_stored_without_an_answer_is_adopted_and_renewed_before_it_counts() {
    let mut keeper = held(1, 1, 7);
    keeper.take(Answer::Refused);
    assert_eq!(keeper.take(Answer::Found(Some((Lease { epoch: Some(7), ..lease(1, 1) }, 12)))), Step::InDoubt);
    assert_eq!(keeper.next(), Ask::Update(Lease { epoch: Some(7), ..lease(1, 1) }, 12));
    let mut starting = Keeper::new(lease(1, 1));
    starting.take(Answer::Refused);
    starting.take(Answer::Found(Some((lease(1, 1), 5))));
    assert_eq!(starting.take(Answer::Stored(6)), Step::Renewed { epoch: 5 }, "its creation was at revision 5");
}

#[test]
fn a_usurper_makes_it_stand_by_until_the_lease_is_gone() {
    let mut keeper = held(1, 1, 7);
    keeper.take(Answer::Refused);
    assert_eq!(keeper.take(Answer::Found(Some((lease(1, 2), 8)))), Step::StandingBy, "a cloned disk plays no ping-pong");
    assert_eq!(keeper.other, Some(lease(1, 2)));
    assert_eq!(keeper.next(), Ask::StandBy(lease(1, 1)));
    assert_eq!(keeper.take(Answer::Found(Some((lease(1, 2), 9)))), Step::StandingBy);
    keeper.take(Answer::Found(None));
    assert_eq!(keeper.next(), Ask::Create(lease(1, 1)));
}

#[test]
fn a_restarted_worker_takes_its_lease_over_at_once_and_another_one_does_not() {
    let mut same = Keeper::new(lease(1, 2));
    same.take(Answer::Refused);
    assert_eq!(same.take(Answer::Found(Some((lease(1, 1), 8)))), Step::InDoubt);
    assert_eq!(same.next(), Ask::Update(lease(1, 2), 8));
    assert_eq!(same.take(Answer::Stored(9)), Step::Renewed { epoch: 9 });
    let mut other = Keeper::new(lease(2, 2));
    other.take(Answer::Refused);
    assert_eq!(other.take(Answer::Found(Some((lease(1, 1), 8)))), Step::StandingBy);
}

#[test]
fn nothing_may_be_done_after_the_lease_may_have_expired() {
    let now = Instant::now();
    let held = |until| Tenure::Held { epoch: 1, until };
    assert!(held(Some(now + Duration::from_millis(1))).may_act(now));
    assert!(!held(Some(now)).may_act(now) && !held(None).may_act(now));
    assert!(!held(None).speaks() && held(None).has_name());
    assert!(Tenure::Unleased.may_act(now) && !Tenure::StandingBy.may_act(now) && !Tenure::Unsettled.may_act(now));
}

// A bucket that is empty at first.
struct Bucket(std::sync::Mutex<(Option<(Lease, u64)>, u64)>);

impl LeaseBucket for Bucket {
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
            (Ask::Create(_) | Ask::Update(..), _) => Answer::Refused,
            (Ask::Read | Ask::StandBy(_), entry) => Answer::Found((*entry).clone()),
        };
        Box::pin(async { Ok(answer) })
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_kept_and_unconfirmed_once_the_connection_is_lost() {
    let bucket = Bucket(Default::default());
    let (tenure, seen) = watch::channel(Tenure::Unsettled);
    let ttl = Duration::from_secs(15);
    let mut keeper = Keeper::new(lease(1, 1));
    keep(&mut keeper, &bucket, ttl, &tenure, sleep(Duration::from_secs(60))).await;
    assert_eq!(*seen.borrow(), Tenure::Held { epoch: 1, until: None });
    assert!(bucket.0.lock().unwrap().1 >= 10, "renewed every third of the time it lasts");
    // Meanwhile another one came.
    *bucket.0.lock().unwrap() = (Some((lease(2, 2), 50)), 50);
    keep(&mut keeper, &bucket, ttl, &tenure, sleep(Duration::from_secs(1))).await;
    assert_eq!(*seen.borrow(), Tenure::StandingBy);
    bucket.0.lock().unwrap().0 = None;
    let waiting = keep(&mut keeper, &bucket, ttl, &tenure, std::future::pending());
    let mut acting = seen.clone();
    tokio::select! {
        () = waiting => {}
        held = acting.wait_for(|tenure| tenure.speaks()) => assert_eq!(held.unwrap().epoch(), Some(51)),
    }
}
