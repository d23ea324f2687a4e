//! PersistFiles and SubmitPersisted: brings the sector into an attached store and says so.
//!
//! Decision 044 in `docs/decisions`.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use shared_msgs::{
    plan::{Plan, PlanEvent},
    sector_manager::{SectorId, StoreReserveSpace, SubmitPersisted},
};
use tracing::warn;

use super::{Done, StageRun, field, on_disk};
use crate::{
    failure::Failure,
    processor::task::{Transfer, TransferItem, TransferOption, TransferRoute, TransferStoreInfo},
    store::{
        attached::{AttachedStore, Kind, ReplicaFiles},
        files::{at, require_space},
    },
};

pub(super) async fn copy_files(run: &StageRun<'_>) -> Result<Done, Failure> {
    // An upgraded replica is decoded with the one that it was made from: a rebuild brings back
    // both.
    let kinds = match Kind::persisted(run.sector) {
        Kind::Update if run.upgrade()?.source.is_none() => vec![Kind::Sealed, Kind::Update],
        kind => vec![kind],
    };
    let (mut left, mut refused) = (candidates(run)?, vec![]);
    while let Some(store) = next_store(run, &left, &refused).await? {
        left.retain(|other| other.name != store.name);
        if let Err(error) = usable(run, &store, &kinds).await? {
            refused.push(error);
            continue;
        }
        if !is_begun(run, &store) {
            // What is there is never replaced by a sector that happens to have its number.
            require_none(run, &store, &kinds).await?;
            return Ok(run.note(|sector| sector.persisting = Some(store.name)));
        }
        match bring(run, &store, &kinds).await {
            Ok(()) => {
                return run.done(PlanEvent::Persist, |sector| sector.persisted = Some(store.name));
            }
            // The look before has not shown it, or it has become so meanwhile.
            Err(failure) if is_refused(&failure.message) => {
                warn!(sector = %run.id(), store = store.name, %failure, "this store cannot be written to; the next one is tried");
                refused.push(failure.message);
            }
            Err(failure) => return Err(failure),
        }
    }
    Err(Failure::temporary(format!("no attached store can be used: {}", refused.join("; "))))
}

// The store to try: the one that was begun with, else the one that the sector manager has room in,
// by its own weights and reservations.
async fn next_store(
    run: &StageRun<'_>,
    left: &[AttachedStore],
    refused: &[String],
) -> Result<Option<AttachedStore>, Failure> {
    let Some(first) = left.first() else { return Ok(None) };
    if is_begun(run, first) {
        return Ok(Some(first.clone()));
    }
    let candidates: Vec<String> = left.iter().map(|store| store.name.clone()).collect();
    let request = StoreReserveSpace {
        request_id: run.request_id,
        sector: run.id(),
        size: reservation(run.sector_size()),
        candidates: candidates.clone(),
    };
    let reserved = run.ask(&request).await?;
    let named = reserved.as_ref().and_then(|store| AttachedStore::named(left, &store.name));
    match named {
        Some(store) => Ok(Some(store.clone())),
        None if refused.is_empty() => Err(Failure::temporary(format!(
            "the sector manager has room in none of the stores {}",
            candidates.join(", ")
        ))),
        None => Ok(None),
    }
}

// Bytes that a sector takes with its trees, as damocles reserves them.
fn reservation(sector_size: u64) -> u64 {
    if sector_size < 32 << 30 { 2 * sector_size } else { sector_size + sector_size / 50 }
}

// Whether what the store has of the sector is this job's: a rebuild replaces the sector by itself.
fn is_begun(run: &StageRun<'_>, store: &AttachedStore) -> bool {
    let begun = [&run.sector.persisting, &run.sector.persisted].into_iter().flatten();
    let named = |name: &String| {
        AttachedStore::named(&run.shared.attached, name)
            .is_some_and(|named| named.name == store.name)
    };
    run.plan == Plan::Rebuild || begun.into_iter().any(named)
}

async fn require_none(
    run: &StageRun<'_>,
    store: &AttachedStore,
    kinds: &[Kind],
) -> Result<(), Failure> {
    let replicas: Vec<_> = kinds.iter().map(|kind| store.files(run.id(), *kind).replica).collect();
    let there = on_disk(move || {
        Ok(replicas.into_iter().find(|replica| fs::symlink_metadata(replica).is_ok()))
    })
    .await?;
    match there {
        None => Ok(()),
        Some(replica) => Err(Failure::permanent(format!(
            "store {:?} has a replica of {} that this job has not brought, {}: move it away if it is not needed, then resume",
            store.name,
            run.id(),
            replica.display()
        ))),
    }
}

// A sector that was persisted before goes where it went, an upgrade where the sector is; others to
// the first store that can take them.
fn candidates(run: &StageRun<'_>) -> Result<Vec<AttachedStore>, Failure> {
    let stores = &run.shared.attached;
    let before = run.sector.persisted.as_ref().or(run.sector.persisting.as_ref());
    let wanted = before.or(run.sector.upgrade.as_ref().and_then(|upgrade| upgrade.source.as_ref()));
    let wanted =
        wanted.and_then(|name| AttachedStore::named(stores, name)).map(|store| &store.name);
    let mut writable: Vec<_> = stores.iter().filter(|store| !store.readonly).cloned().collect();
    if writable.is_empty() {
        return Err(Failure::permanent(
            "no attached store can be written to: configure [[attached]] without readonly",
        ));
    }
    writable.sort_by_key(|store| Some(&store.name) != wanted);
    Ok(writable)
}

// Why a store cannot take them, if so.
async fn usable(
    run: &StageRun<'_>,
    store: &AttachedStore,
    kinds: &[Kind],
) -> Result<Result<(), String>, Failure> {
    let (bytes, store, kinds) = (run.bytes_of(kinds.len() as u64), store.clone(), kinds.to_vec());
    let look = move || {
        let writable = || kinds.iter().try_for_each(|kind| store.check_writable(*kind));
        let checked = store
            .check_present()
            .and_then(|()| writable())
            .and_then(|()| require_space(&store.path, bytes));
        Ok(checked.map_err(|error| error.to_string()))
    };
    on_disk(look).await
}

async fn bring(run: &StageRun<'_>, store: &AttachedStore, kinds: &[Kind]) -> Result<(), Failure> {
    for kind in kinds.iter().copied() {
        let (id, local, target) = (run.id(), run.local(kind), store.clone());
        let transfer = on_disk(move || transfer_to(&target, id, kind, &local)).await?;
        let brought = transfer.clone();
        if !run.compute(transfer).await? {
            return Err(Failure::temporary(format!(
                "the files could not be brought to store {:?}",
                store.name
            )));
        }
        on_disk(move || check_arrived(&brought)).await?;
    }
    Ok(())
}

// What is to be brought to a store of a replica: all that proving needs (what Lotus and damocles keep
// of a finalized sector), the replica last.
fn transfer_to(
    store: &AttachedStore,
    sector: SectorId,
    kind: Kind,
    local: &ReplicaFiles,
) -> io::Result<Transfer> {
    let target = store.files(sector, kind);
    let option = Some(TransferOption { is_dir: false, allow_link: false });
    let route = |from: PathBuf, to: PathBuf| TransferRoute {
        src: TransferItem { store_name: None, uri: from },
        dest: TransferItem { store_name: Some(store.name.clone()), uri: to },
        opt: option,
    };
    let mut routes = vec![];
    for entry in fs::read_dir(&local.cache).map_err(|error| at(&local.cache, error))? {
        let entry = entry.map_err(|error| at(&local.cache, error))?;
        let name = entry.file_name();
        let text = name.to_string_lossy();
        if text == "p_aux" || text == "t_aux" || text.starts_with("sc-02-data-tree-r-last") {
            routes.push(route(entry.path(), target.cache.join(&name)));
        }
    }
    if routes.len() < 3 {
        let missing = format!("{}: p_aux, t_aux or tree-r-last is missing", local.cache.display());
        return Err(io::Error::new(io::ErrorKind::NotFound, missing));
    }
    routes.push(route(local.replica.clone(), target.replica));
    let meta = Some(store.meta.clone()).filter(|meta| !meta.is_empty());
    let info = TransferStoreInfo { name: store.name.clone(), meta };
    Ok(Transfer { stores: [(store.name.clone(), info)].into(), routes })
}

// Refuses what did not arrive whole, whoever brought it.
fn check_arrived(transfer: &Transfer) -> io::Result<()> {
    for TransferRoute { src, dest, .. } in &transfer.routes {
        let size = |path: &Path| {
            fs::metadata(path).map(|metadata| metadata.len()).map_err(|error| at(path, error))
        };
        let (sent, arrived) = (size(&src.uri)?, size(&dest.uri)?);
        if sent != arrived {
            let short = format!("{}: {arrived} bytes arrived of {sent}", dest.uri.display());
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, short));
        }
    }
    Ok(())
}

// By the system's words for it: a processor has no others.
fn is_refused(message: &str) -> bool {
    ["Read-only file system", "Permission denied"].iter().any(|sign| message.contains(sign))
}

pub(super) async fn submit(run: &StageRun<'_>) -> Result<Done, Failure> {
    let store = field(&run.sector.persisted, "store")?.clone();
    let is_upgrade = run.sector.upgrade.is_some();
    let request = SubmitPersisted {
        request_id: run.request_id,
        sector: run.id(),
        store: store.clone(),
        is_upgrade,
    };
    if run.ask(&request).await? {
        run.done(PlanEvent::SubmitPersistance, |_| {})
    } else {
        Err(Failure::permanent(format!(
            "the sector manager does not find the sector's files in store {store:?}"
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        processor::task::Task,
        store::{location::Location, place::Places},
    };

    const SECTOR: SectorId = SectorId { miner: 10000, number: 2 };

    fn sealed_sector(directory: &Path) -> (AttachedStore, ReplicaFiles) {
        let files = Location::at(&directory.join("local")).unwrap().sector_files(SECTOR);
        fs::create_dir_all(files.sealed.parent().unwrap()).unwrap();
        fs::create_dir_all(&files.cache).unwrap();
        for name in ["p_aux", "t_aux", "sc-02-data-tree-r-last.dat", "sc-02-data-layer-1.dat"] {
            fs::write(files.cache.join(name), name).unwrap();
        }
        fs::write(&files.sealed, [7; 2048]).unwrap();
        let store = AttachedStore::attach(
            "remote".into(),
            &directory.join("remote"),
            false,
            &Places::default(),
        )
        .unwrap();
        (store, ReplicaFiles { replica: files.sealed, cache: files.cache })
    }

    #[test]
    fn what_proving_needs_is_kept_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let (store, local) = sealed_sector(directory.path());
        for _ in 0..2 {
            let transfer = transfer_to(&store, SECTOR, Kind::Sealed, &local).unwrap();
            assert!(transfer.clone().run_builtin().unwrap());
            check_arrived(&transfer).unwrap();
        }
        assert_eq!(fs::read(store.path.join("sealed/s-t010000-2")).unwrap(), [7; 2048]);
        let mut names: Vec<_> = fs::read_dir(store.path.join("cache/s-t010000-2"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["p_aux", "sc-02-data-tree-r-last.dat", "t_aux"]);
        store.remove(SECTOR, Kind::Update).unwrap();
        assert!(store.path.join("sealed/s-t010000-2").exists());
        store.remove(SECTOR, Kind::Sealed).unwrap();
        store.remove(SECTOR, Kind::Sealed).unwrap();
        assert!(!store.path.join("sealed/s-t010000-2").exists());
    }

    #[test]
    fn whoever_transfers_gets_what_the_store_says_of_itself() {
        let directory = tempfile::tempdir().unwrap();
        let (mut store, local) = sealed_sector(directory.path());
        let told = |store: &AttachedStore| {
            let transfer = transfer_to(store, SECTOR, Kind::Sealed, &local).unwrap();
            serde_json::to_value(&transfer.stores).unwrap()["remote"]["meta"].clone()
        };
        assert_eq!(told(&store), serde_json::json!(null));
        store.meta = [("zone".to_owned(), "b".to_owned())].into();
        assert_eq!(told(&store), serde_json::json!({"zone": "b"}));
    }

    #[test]
    fn a_missing_or_short_file_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let (store, local) = sealed_sector(directory.path());
        let transfer = transfer_to(&store, SECTOR, Kind::Sealed, &local).unwrap();
        assert!(transfer.clone().run_builtin().unwrap());
        fs::write(store.path.join("sealed/s-t010000-2"), [7; 2000]).unwrap();
        assert!(
            check_arrived(&transfer)
                .unwrap_err()
                .to_string()
                .contains("2000 bytes arrived of 2048")
        );
        fs::remove_file(local.cache.join("p_aux")).unwrap();
        assert!(
            transfer_to(&store, SECTOR, Kind::Sealed, &local)
                .unwrap_err()
                .to_string()
                .contains("p_aux")
        );
    }
}
