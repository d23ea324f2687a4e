use tempfile::TempDir;

use super::*;

const LAYER: [u8; 64] = [7; 64];

fn made_from(ticket: u8) -> MadeFrom {
    MadeFrom {
        registered_proof: "StackedDrg2KiBV1_1".into(),
        prover_id: [1; 32],
        sector_id: 2,
        ticket: [ticket; 32],
        comm_d: [3; 32],
    }
}

fn note(boot: Option<&str>, synced: u64) -> Note {
    Note { made_from: made_from(1), boot: boot.map(str::to_owned), synced }
}

#[test]
fn what_stays_is_what_is_certain() {
    let this = Some("this boot");
    let layers = made_from(1);
    assert_eq!(kept(&note(this, 2), this, &layers, 7), 7, "on the same boot all that are whole");
    assert_eq!(kept(&note(this, 2), this, &layers, 1), 1, "but no more than are there");
    assert_eq!(
        kept(&note(Some("an earlier one"), 2), this, &layers, 7),
        2,
        "after it those that were synced"
    );
    assert_eq!(kept(&note(Some("an earlier one"), 2), this, &layers, 1), 1);
    assert_eq!(kept(&note(Some("an earlier one"), 0), this, &layers, 7), 0);
    assert_eq!(
        kept(&note(None, 2), None, &layers, 7),
        2,
        "a boot that cannot be told is not the same"
    );
    let others = [
        made_from(2),
        MadeFrom { comm_d: [4; 32], ..made_from(1) },
        MadeFrom { sector_id: 3, ..made_from(1) },
        MadeFrom { prover_id: [2; 32], ..made_from(1) },
        MadeFrom { registered_proof: "StackedDrg2KiBV1".into(), ..made_from(1) },
    ];
    for other in others {
        assert_eq!(kept(&note(this, 2), this, &other, 7), 0, "{other:?}");
    }
}

struct Disk(TempDir);

impl Disk {
    // With layers 1 to 3 whole and noted, as the note of another boot has it; and what else a run
    // leaves.
    fn left_by_a_run() -> Disk {
        let disk = Disk(TempDir::new().unwrap());
        disk.layers(1).prepare().unwrap();
        for layer in 1..=3 {
            fs::write(disk.layer(layer), LAYER).unwrap();
        }
        for other in ["sc-02-data-layer-4..tmp", "sc-02-data-layer-5.dat", "sc-02-data-tree-d.dat"]
        {
            fs::write(disk.0.path().join("cache").join(other), LAYER).unwrap();
        }
        disk
    }

    fn layers(&self, ticket: u8) -> Layers {
        Layers::new(
            &self.0.path().join("cache"),
            &self.note(),
            11,
            LAYER.len() as u64,
            made_from(ticket),
        )
    }

    fn note(&self) -> PathBuf {
        self.0.path().join("note")
    }

    fn layer(&self, layer: u64) -> PathBuf {
        self.layers(1).path(layer)
    }

    // The layers that stay, having seen that all else goes.
    fn stay(&self, ticket: u8) -> u64 {
        let kept = self.layers(ticket).prepare().unwrap();
        let mut names: Vec<_> = fs::read_dir(self.0.path().join("cache"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        names.sort();
        assert_eq!(names, (1..=kept).map(|layer| self.layer(layer)).collect::<Vec<_>>());
        kept
    }
}

#[test]
fn whole_layers_stay_and_all_else_goes() {
    let disk = Disk::left_by_a_run();
    assert_eq!(disk.stay(1), 3);
    assert_eq!(disk.stay(1), 3);
    assert_eq!(disk.stay(2), 0, "another ticket");
    assert_eq!(disk.stay(1), 0);
}

#[test]
fn whatever_is_doubtful_begins_anew() {
    type Spoil = fn(&Disk);
    let spoil: [(&str, Spoil, u64); 6] = [
        ("no note", |disk| fs::remove_file(disk.note()).unwrap(), 0),
        ("half a note", |disk| fs::write(disk.note(), "{\"made_from\":{\"regis").unwrap(), 0),
        ("a note of another kind", |disk| fs::write(disk.note(), "[1, 2]").unwrap(), 0),
        ("a truncated layer", |disk| fs::write(disk.layer(2), &LAYER[1..]).unwrap(), 1),
        ("a layer that is too long", |disk| fs::write(disk.layer(1), [7; 65]).unwrap(), 0),
        ("a missing layer", |disk| fs::remove_file(disk.layer(3)).unwrap(), 2),
    ];
    for (what, spoil, stay) in spoil {
        let disk = Disk::left_by_a_run();
        spoil(&disk);
        assert_eq!(disk.stay(1), stay, "{what}");
    }
}

#[tokio::test]
async fn layers_are_synced_and_noted_when_they_are_there_and_an_error_of_the_library_ends_the_note()
{
    let disk = Disk::left_by_a_run();
    let layers = Arc::new(disk.layers(1));
    let activity = Activity::begin();
    let kept = layers.prepare().unwrap();
    let another_boot =
        || Note { boot: Some("an earlier one".into()), ..layers.read_note().unwrap() };
    assert_eq!(another_boot().synced, 3);
    let making = async {
        fs::write(disk.layer(4), LAYER).unwrap();
        Ok("made")
    };
    assert_eq!(layers.clone().follow(kept, &activity, making).await, Ok("made"));
    assert_eq!(activity.now().progress.as_deref(), Some("layer 5 of 11"));
    assert!(activity.now().advanced);
    assert_eq!(another_boot().synced, 4);

    let ended = async { Err::<(), _>(Failure::temporary("processor pc1 (pid 7) has ended")) };
    assert!(layers.clone().follow(4, &activity, ended).await.is_err());
    assert_eq!(disk.stay(1), 4, "it was ended, which says nothing about its layers");
    let failed = async { Err::<(), _>(Failure::permanent("the library is not content")) };
    assert!(layers.clone().follow(4, &activity, failed).await.is_err());
    assert_eq!(disk.stay(1), 0);
}
