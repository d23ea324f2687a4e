//! One answer for a whole fleet, which has to fit into a message: what there is no room for is counted.
//! Pure.
//!
//! ```text
//!  first  who was not believed, who refused, who is missing
//!  then   workers with threads to which the command did nothing, then all others
//! ```

use serde::Serialize;
use shared_msgs::{
    api::{FleetReply, Unlisted},
    codec::Encoding,
    error::ErrorKind,
    text::cut_text,
};

// An example of why threads fared so, among many.
const MAX_EXAMPLE_BYTES: usize = 256;
// For the names and lengths of lists that have something in them.
const LISTS_BYTES: usize = 96;

/// The same in at most so many bytes: it lists what fits, and counts the rest.
pub(super) fn within(
    max_bytes: usize,
    mut reply: FleetReply,
    encoding: Encoding,
) -> Result<FleetReply, ErrorKind> {
    let bytes_of = |reply: &FleetReply| Ok::<_, ErrorKind>(encoding.encode(reply)?.len());
    if bytes_of(&reply)? <= max_bytes {
        return Ok(reply);
    }
    let nothing = FleetReply {
        workers: Vec::new(),
        refused: Vec::new(),
        missing: Vec::new(),
        conflicts: Vec::new(),
        unlisted: counted(&reply),
        ..reply
    };
    // With less to count, the counts are no longer.
    let mut room = max_bytes.saturating_sub(bytes_of(&nothing)? + LISTS_BYTES);
    let (conflicts, _) = fitting(reply.conflicts, &mut room, encoding)?;
    let (refused, _) = fitting(reply.refused, &mut room, encoding)?;
    let (missing, _) = fitting(reply.missing, &mut room, encoding)?;
    reply.workers.sort_by_key(|worker| worker.threads.iter().all(|thread| thread.error.is_none()));
    let (mut workers, rest) = fitting(reply.workers, &mut room, encoding)?;
    workers.sort_by(|one, other| one.worker.cmp(&other.worker));
    let mut unlisted = Unlisted {
        refused: nothing.unlisted.refused - refused.len() as u64,
        missing: nothing.unlisted.missing - missing.len() as u64,
        conflicts: nothing.unlisted.conflicts - conflicts.len() as u64,
        ..Unlisted::default()
    };
    rest.iter().for_each(|worker| unlisted.count(worker));
    cut_examples(&mut unlisted);
    Ok(FleetReply { workers, refused, missing, conflicts, unlisted, ..nothing })
}

fn counted(reply: &FleetReply) -> Unlisted {
    let mut unlisted = Unlisted {
        refused: reply.refused.len() as u64,
        missing: reply.missing.len() as u64,
        conflicts: reply.conflicts.len() as u64,
        ..Unlisted::default()
    };
    reply.workers.iter().for_each(|worker| unlisted.count(worker));
    cut_examples(&mut unlisted);
    unlisted
}

fn cut_examples(unlisted: &mut Unlisted) {
    for error in unlisted.threads.iter_mut().filter_map(|like| like.error.as_mut()) {
        error.message = cut_text(&error.message, MAX_EXAMPLE_BYTES);
    }
}

// Those that fit into the room, and the others.
fn fitting<T: Serialize>(
    items: Vec<T>,
    room: &mut usize,
    encoding: Encoding,
) -> Result<(Vec<T>, Vec<T>), ErrorKind> {
    let (mut listed, mut rest) = (Vec::new(), Vec::new());
    for item in items {
        // One more for the comma.
        let bytes = encoding.encode(&item)?.len() + 1;
        if bytes <= *room {
            *room -= bytes;
            listed.push(item);
        } else {
            rest.push(item);
        }
    }
    Ok((listed, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;
    use shared_msgs::{
        api::{Conflict, WorkerRefusal},
        id::Id,
    };

    use super::*;

    fn fleet(workers: usize, failing: usize, silent: usize) -> FleetReply {
        let worker = |number: usize| {
            let error = json!({"kind": "internal", "detail": "x", "message": "y".repeat(300)});
            let threads = match number < failing {
                true => {
                    json!([{"index": 0, "outcome": {"kind": "paused"}}, {"index": 1, "error": error}])
                }
                false => json!([{"index": 0, "outcome": {"kind": "paused"}}]),
            };
            // The failing ones stand in the end.
            let name = format!("w{:05}", 99_999 - number);
            serde_json::from_value(
                json!({"worker": name, "instance_id": Id::NIL, "threads": threads}),
            )
            .unwrap()
        };
        let mut workers: Vec<_> = (0..workers).map(worker).collect();
        workers.reverse();
        let name = |number: usize| format!("s{number:05}");
        let refusal = |number| WorkerRefusal {
            worker: Some(name(number)),
            error: ErrorKind::LeaseUnconfirmed.into(),
        };
        FleetReply {
            request_id: Some(Id::NIL),
            workers,
            refused: (0..silent).map(refusal).collect(),
            missing: (0..silent).map(name).collect(),
            conflicts: (0..silent)
                .map(|number| Conflict { worker: name(number), instance_id: Id::NIL })
                .collect(),
            ..FleetReply::default()
        }
    }

    #[test]
    fn what_fits_is_told_as_it_is() {
        let whole = fleet(3, 1, 1);
        assert_eq!(within(10_000, whole.clone(), Encoding::Json).unwrap(), whole);
    }

    #[test]
    fn where_there_is_no_room_what_went_wrong_is_listed_and_the_rest_counted() {
        let told = within(20_000, fleet(10_000, 3, 5), Encoding::Json).unwrap();
        let lists = (told.refused.len(), told.missing.len(), told.conflicts.len());
        assert_eq!(lists, (5, 5, 5));
        let failing = told.workers.iter().filter(|worker| worker.threads.len() == 2).count();
        assert_eq!(failing, 3);
        let Unlisted { workers, threads, .. } = &told.unlisted;
        assert_eq!(*workers as usize + told.workers.len(), 10_000);
        assert_eq!((threads.len(), threads[0].count), (1, *workers));
        assert!(threads[0].outcome.is_some());
    }

    proptest! {
        #[test]
        fn it_fits_and_nothing_is_lost(workers in 0usize..80, failing in 0usize..40, silent in 0usize..40, max_bytes in 1_500usize..20_000) {
            for encoding in [Encoding::Json, Encoding::Msgpack] {
                let whole = fleet(workers, failing, silent);
                let told = within(max_bytes, whole.clone(), encoding).unwrap();
                prop_assert!(encoding.encode(&told).unwrap().len() <= max_bytes);
                let mut all = told.unlisted.clone();
                all.refused += told.refused.len() as u64;
                all.missing += told.missing.len() as u64;
                all.conflicts += told.conflicts.len() as u64;
                told.workers.iter().for_each(|worker| all.count(worker));
                let counts = |unlisted: &Unlisted| {
                    let mut threads: Vec<_> = unlisted.threads.iter().map(|like| (like.outcome.clone(), like.count)).collect();
                    threads.sort_by_key(|(outcome, _)| outcome.is_none());
                    (unlisted.workers, threads, unlisted.refused, unlisted.missing, unlisted.conflicts)
                };
                prop_assert_eq!(counts(&all), counts(&counted(&whole)));
            }
        }
    }
}
