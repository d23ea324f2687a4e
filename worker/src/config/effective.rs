//! What a worker works with, each value with where it comes from; secrets are hidden.

use damocles_client::connect::NatsOptions;
use damocles_daemon::config::{
    ConfigError, Document, Fault, KeyPath, Origin, Setting, Step, settings,
};

use super::{Config, File, WITHOUT_EFFECT};

/// The effective configuration of a worker.
pub(crate) struct Effective {
    /// Every value but those of `[nats]`, of which others say something too.
    pub(crate) settings: Vec<Setting>,
    /// The `[nats]` section of the file.
    pub(crate) nats: NatsOptions,
    /// What to say beside it.
    pub(crate) warnings: Vec<String>,
}

impl Effective {
    /// Reads a worker's file, and those of its threads.
    pub(crate) fn of(document: &Document) -> Result<Effective, ConfigError> {
        let (config, mut warnings) = Config::read(document)?;
        let (mut file, _) = document.read::<File>(WITHOUT_EFFECT)?;
        // Each thread as its own file has it at the moment.
        let mut own_files = vec![];
        for (thread, section) in config.threads.into_iter().zip(&mut file.sealing_thread) {
            section.sealing = thread.sealing;
            section.location = Some(thread.location.clone());
            own_files.push(match thread.hot.load(&thread.location) {
                Ok(own) => {
                    (section.plan, section.sealing) = (own.plan, own.sealing);
                    Some(own.document)
                }
                Err(error) => {
                    warnings.push(format!("{error}; what the worker's file says stays"));
                    None
                }
            });
        }
        let origin = |at: &KeyPath| origin(at, document, &own_files);
        let settings = settings(&file, origin).map_err(|error| {
            document.refuse(Fault::at(KeyPath::root(), format!("it cannot be shown: {error}")))
        })?;
        Ok(Effective { settings, nats: file.nats, warnings })
    }
}

// What stands nearest to a thread counts.
fn origin(at: &KeyPath, document: &Document, own_files: &[Option<Document>]) -> Origin {
    let of_thread = match at.steps() {
        [Step::Key(section), Step::Index(thread), rest @ ..] if section == "sealing_thread" => {
            Some((*thread, KeyPath::from(rest)))
        }
        _ => None,
    };
    let Some((thread, rest)) = of_thread else { return document.origin(at) };
    let own = own_files.get(thread).and_then(Option::as_ref);
    let own = own.map_or(Origin::Default, |own| own.origin(&rest));
    [own, document.origin(at), document.origin(&rest)]
        .into_iter()
        .find(|origin| *origin != Origin::Default)
        .unwrap_or(Origin::Default)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_value_says_where_it_comes_from() {
        let directory = tempfile::tempdir().unwrap();
        let location = directory.path().display();
        let text = format!(
            "[worker]\nname = 'w1'\n[nats]\npassword = 'hunter2'\ntimeout = '2s'\n\
             [sealing]\nmax_retries = 3\nseal_interval = '7s'\n\
             [[sealing_thread]]\nlocation = '{location}'\nsealing.max_retries = 4\n\
             sealing.recover_interval = '1s'\n\
             [[processors.c2]]\nbin = 'x'\nlocks = ['gpu']\n[processors.ext_locks]\ngpu = 1\n"
        );
        let own = directory.path().join("config.toml");
        std::fs::write(&own, "plan = 'snapup'\n[sealing]\nrecover_interval = '2s'\n").unwrap();
        let document = Document::parse(&text, "w.toml").unwrap();
        let effective = Effective::of(&document).unwrap();
        let shown = |key: &str| {
            let setting = effective.settings.iter().find(|setting| setting.key == key).expect(key);
            let from = match &setting.origin {
                Origin::File { file, line } => format!("{file}:{line}"),
                origin => format!("{origin:?}"),
            };
            (setting.value.to_string(), from)
        };
        let in_own = |line| format!("{}:{line}", own.display());
        for (key, value, from) in [
            ("worker.name", "\"w1\"", "w.toml:2".to_owned()),
            ("worker.grace", "\"10s\"", "Default".into()),
            ("sealing.max_retries", "3", "w.toml:7".into()),
            ("sealing_thread[0].plan", "\"snapup\"", in_own(1)),
            ("sealing_thread[0].sealing.max_retries", "4", "w.toml:11".into()),
            ("sealing_thread[0].sealing.seal_interval", "\"7s\"", "w.toml:8".into()),
            ("sealing_thread[0].sealing.recover_interval", "\"2s\"", in_own(3)),
            ("sealing_thread[0].sealing.enable_deals", "false", "Default".into()),
            ("processors.c2[0].locks.gpu", "1", "w.toml:15".into()),
            ("processors.c2[0].stable_wait", "\"5s\"", "Default".into()),
        ] {
            assert_eq!(shown(key), (value.to_owned(), from), "{key}");
        }
        let all = format!("{:?}", effective.settings);
        assert!(!all.contains("hunter2"), "{all}");
    }

    #[test]
    fn a_threads_own_file_that_is_broken_is_said_and_the_workers_stays() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("config.toml"), "plan = 'snap'").unwrap();
        let text = format!("[[sealing_thread]]\nlocation = '{}'", directory.path().display());
        let effective = Effective::of(&Document::parse(&text, "w.toml").unwrap()).unwrap();
        assert!(effective.warnings[0].contains("config.toml, line 1"), "{:?}", effective.warnings);
        let plan = effective.settings.iter().find(|setting| setting.key.ends_with(".plan"));
        assert_eq!(plan.map(|plan| &plan.origin), Some(&Origin::Default));
    }
}
