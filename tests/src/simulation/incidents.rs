//! What goes wrong: processes die, are stopped, and are cut off; the server is away; a second
//! process takes the same name.

use std::{sync::Arc, time::Duration};

use tokio::time::sleep;

use super::{
    ground::MAX_THREADS,
    process::Process,
    world::{Machine, Phase, World},
};

/// How long things go wrong.
pub const BUSY: Duration = Duration::from_secs(10);

/// Sets the world up: each name has a machine.
pub async fn begin(world: &Arc<World>) {
    for name in 0..world.names.len() {
        let threads = world.draw(|dice| dice.usize(1..=MAX_THREADS));
        let disks = (0..threads).map(|_| world.ground.disk.copy()).collect();
        start_on(world, Machine { name, disks, opened: vec![None; threads], process: None }).await;
    }
}

/// Lets things go wrong until it is calm.
pub async fn run(world: Arc<World>) {
    loop {
        sleep(world.millis(300..4_000)).await;
        if world.phase() != Phase::Busy {
            return;
        }
        let processes: Vec<Arc<Process>> = world
            .machines()
            .iter()
            .filter_map(|machine| machine.process.clone())
            .filter(|process| !process.is_stopping())
            .collect();
        let Some(process) = world.draw(|dice| dice.choice(processes)) else { continue };
        match world.draw(|dice| dice.u8(0..20)) {
            0..8 => {
                world.count("a process was killed");
                process.kill(&world);
                restart(&world, process.machine);
            }
            8..10 => {
                world.count("a process was stopped");
                let here = world.clone();
                world.spawn(async move {
                    process.stop(&here).await;
                    restart(&here, process.machine);
                });
            }
            10..15 => cut_off(&world, process),
            15..16 => {
                world.count("the server was away");
                let living: Vec<_> =
                    (0..world.names.len()).flat_map(|name| world.living(name)).collect();
                living.into_iter().for_each(|process| cut_off(&world, process));
            }
            16..18 => {
                world.count("a second worker took a name");
                let disks: Vec<_> = (0..world.draw(|dice| dice.usize(1..=MAX_THREADS)))
                    .map(|_| world.ground.disk.copy())
                    .collect();
                let opened = vec![None; disks.len()];
                second(&world, Machine { name: process.name, disks, opened, process: None }, false)
                    .await;
            }
            _ => {
                world.count("a disk was cloned");
                let original = world.machines()[process.machine].clone();
                let disks = original.disks.iter().map(|disk| disk.copy()).collect();
                second(&world, Machine { disks, process: None, ..original }, true).await;
            }
        }
    }
}

/// Starts what does not run.
pub async fn start_all(world: &Arc<World>) {
    let machines = world.machines().len();
    for machine in 0..machines {
        start(world, machine).await;
    }
}

async fn second(world: &Arc<World>, machine: Machine, clone: bool) {
    let same = world.machines().iter().filter(|known| known.name == machine.name).count();
    if same < 2 {
        if clone {
            let number = world.machines().len();
            world.history().clones.insert(number);
        }
        start_on(world, machine).await;
    }
}

async fn start_on(world: &Arc<World>, machine: Machine) {
    let number = {
        let mut machines = world.machines();
        machines.push(machine);
        machines.len() - 1
    };
    start(world, number).await;
}

async fn start(world: &Arc<World>, machine: usize) {
    if world.machines()[machine].process.is_none() {
        Process::start(world, machine).await;
    }
}

fn restart(world: &Arc<World>, machine: usize) {
    let here = world.clone();
    let wait = if world.chance(50) { world.millis(1..300) } else { world.millis(300..4_000) };
    world.spawn(async move {
        sleep(wait).await;
        start(&here, machine).await;
    });
}

fn cut_off(world: &Arc<World>, process: Arc<Process>) {
    world.count("a process was cut off");
    let unnoticed = world.millis(10..2_500);
    let noticed = if world.chance(50) { world.millis(100..3_500) } else { Duration::ZERO };
    let here = world.clone();
    world.spawn(async move { process.line.cut_off(&here, unnoticed, noticed).await });
}
