//! Where a child process runs: on which CPUs (`cgroup.cpuset`), and near which memory
//! (`numa_preferred`). What the host does not allow is said once, and the child runs without it.
//!
//! ```text
//!  cpuset:  a control group, if one can be made -> else `taskset` -> else a warning
//!  numa:    `numactl`, if it is installed -> else a warning
//! ```

use std::{
    collections::BTreeMap,
    env,
    ffi::OsStr,
    fs,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::Command,
};

use tracing::{info, warn};

use super::{
    cgroup::Cgroup,
    settings::{CgroupSettings, Settings, parse_cpus},
};

/// Where processors built with damocles's `vc-processors` look for their node, and for their group
/// and its CPUs.
const NUMA_VARIABLE: &str = "VENUS_WORKER_NUMA_PREFERRED";
const GROUP_VARIABLE: &str = "VC_CG_NAME";
const CPUS_VARIABLE: &str = "VC_CG_CPUSET";
const NODES: &str = "/sys/devices/system/node";

/// Where one child process runs, over all its restarts.
#[derive(Debug, Default)]
pub(crate) struct Placement {
    /// Programs that set something up and then become the one named after them.
    pub wrappers: Vec<String>,
    pub envs: BTreeMap<String, String>,
    /// The control group to put it into.
    pub cgroup: Option<Cgroup>,
}

impl Placement {
    /// Prepares memory of a node, and what the settings of its group ask for. `name` is unique in this
    /// process.
    pub(crate) fn prepare(node: Option<u32>, cgroup: &CgroupSettings, name: &str) -> Self {
        let mut placement = Placement::default();
        if let Some(node) = node {
            placement.prefer_node(node, name);
        }
        if let Some(cpus) = &cgroup.cpuset {
            placement.confine(cpus, &group_name(cgroup, name));
        }
        placement
    }

    fn prefer_node(&mut self, node: u32, name: &str) {
        if let Err(doubt) = has_node(node) {
            return warn!(processor = name, node, "{doubt}");
        }
        self.envs.insert(NUMA_VARIABLE.into(), node.to_string());
        match has_numactl() {
            Ok(()) => self.wrappers.extend(["numactl".into(), format!("--preferred={node}")]),
            Err(doubt) => warn!(processor = name, node, "{doubt}"),
        }
    }

    fn confine(&mut self, cpus: &str, name: &str) {
        match Cgroup::create(name, cpus) {
            Ok(cgroup) => {
                info!(processor = name, cpus, cgroup = %cgroup.path().display(), "runs in a control group");
                self.cgroup = Some(cgroup);
            }
            Err(error) => self.pin(cpus, name, &error.to_string()),
        }
    }

    // For hosts where no control group can be made.
    fn pin(&mut self, cpus: &str, name: &str, refused: &str) {
        if let Err(error) = allowed(cpus) {
            warn!(
                processor = name,
                cpus, error, "cgroup.cpuset has no effect: it runs on all CPUs"
            );
        } else if is_installed("taskset") {
            warn!(
                processor = name,
                cpus,
                error = refused,
                "no control group can be made for cgroup.cpuset: pinned with taskset instead"
            );
            self.wrappers.extend(["taskset".into(), "--cpu-list".into(), cpus.into()]);
        } else {
            warn!(
                processor = name,
                cpus,
                error = refused,
                "cgroup.cpuset has no effect: no control group can be made, taskset is not installed"
            );
        }
    }
}

/// Puts this process where whoever has started it says by these variables, as a damocles-worker
/// does: its processors place themselves. Where only a program can do that, this one is begun anew
/// by it.
pub(crate) fn follow_variables(name: &str) {
    let said = |variable: &str| env::var(variable).ok().filter(|said| !said.is_empty());
    let node = said(NUMA_VARIABLE).and_then(|node| {
        let number = node.parse();
        number.inspect_err(|error| warn!(node, %error, "{NUMA_VARIABLE} is no number")).ok()
    });
    let cgroup = CgroupSettings { group_name: said(GROUP_VARIABLE), cpuset: said(CPUS_VARIABLE) };
    let Placement { wrappers, cgroup, .. } = Placement::prepare(node, &cgroup, name);
    if let Some(cgroup) = cgroup {
        if let Err(error) = cgroup.add(std::process::id()) {
            warn!(%error, "runs outside of its control group");
        }
        // It is left when this process ends, and removed by the next one that makes a group.
        std::mem::forget(cgroup);
    }
    let [wrapper, options @ ..] = wrappers.as_slice() else { return };
    let begun_anew = env::current_exe().map(|own| {
        let mut command = Command::new(wrapper);
        command.args(options).arg(own).args(env::args_os().skip(1));
        for variable in [NUMA_VARIABLE, GROUP_VARIABLE, CPUS_VARIABLE] {
            command.env_remove(variable);
        }
        command.exec()
    });
    let (Ok(error) | Err(error)) = begun_anew;
    warn!(wrapper, %error, "runs without it");
}

// One name of a directory, unique as the processor's own is.
fn group_name(cgroup: &CgroupSettings, name: &str) -> String {
    match cgroup.group_name.as_deref() {
        Some(group) if !group.is_empty() => format!("{}-{name}", group.replace('/', "-")),
        _ => name.to_owned(),
    }
}

/// What the settings ask for that this host does not have: a processor runs without it.
pub(crate) fn doubts(settings: &Settings) -> Vec<String> {
    let node = settings.numa_preferred.map(|node| has_node(node).and_then(|()| has_numactl()));
    let cpus =
        settings.cgroup.cpuset.as_deref().map(|cpus| {
            allowed(cpus).map_err(|error| format!("cgroup.cpuset has no effect: {error}"))
        });
    [node, cpus].into_iter().flatten().filter_map(Result::err).collect()
}

fn has_node(node: u32) -> Result<(), String> {
    if Path::new(NODES).join(format!("node{node}")).exists() {
        return Ok(());
    }
    Err(format!("numa_preferred has no effect: this host has no NUMA node {node}"))
}

fn has_numactl() -> Result<(), String> {
    if is_installed("numactl") {
        return Ok(());
    }
    Err(format!(
        "numa_preferred has no effect unless the processor follows {NUMA_VARIABLE}: install numactl"
    ))
}

// A list without any CPU of this worker would keep the child from starting.
fn allowed(cpus: &str) -> Result<(), String> {
    let status = fs::read_to_string("/proc/self/status").map_err(|error| error.to_string())?;
    let Some(own) = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")) else {
        return Ok(());
    };
    if parse_cpus(cpus)?.is_disjoint(&parse_cpus(own.trim())?) {
        Err(format!("this worker may only use CPUs {}", own.trim()))
    } else {
        Ok(())
    }
}

fn is_installed(program: &str) -> bool {
    let found = |directory: PathBuf| directory.join(program).is_file();
    env::split_paths(env::var_os("PATH").as_deref().unwrap_or(OsStr::new(""))).any(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::processor::settings::MAX_CPUS;

    #[test]
    fn a_group_that_is_named_is_called_so_and_stays_one_processors() {
        let mut cgroup = CgroupSettings::default();
        assert_eq!(group_name(&cgroup, "pc1-0"), "pc1-0");
        cgroup.group_name = Some("sealing/../heavy".into());
        assert_eq!(group_name(&cgroup, "pc1-0"), "sealing-..-heavy-pc1-0");
    }

    #[test]
    fn without_a_control_group_taskset_does_it() {
        let mut placement = Placement::default();
        placement.pin("0-65535", "pc1-0", "read-only file system");
        assert_eq!(
            placement.wrappers,
            if is_installed("taskset") { vec!["taskset", "--cpu-list", "0-65535"] } else { vec![] }
        );
    }

    #[test]
    fn cpus_that_the_worker_cannot_have_are_refused() {
        assert!(allowed(&format!("{}", MAX_CPUS - 1)).unwrap_err().contains("may only use"));
        assert!(allowed(&format!("0-{}", MAX_CPUS - 1)).is_ok());
    }
}
