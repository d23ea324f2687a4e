//! What was given of the options that reach NATS, and where.

use clap::{ArgMatches, Args, Command, parser::ValueSource};
use damocles_client::connect::NatsOptions;
use damocles_daemon::config::Origin;

/// What was given of one of the options that reach NATS, on the command line or in the environment.
#[derive(Clone, Debug)]
pub struct Given {
    /// The key that it has in `[nats]`.
    pub key: String,
    /// As it was written.
    pub value: String,
    /// Where it was written.
    pub origin: Origin,
}

impl Given {
    // Each option has the name of its key.
    pub(crate) fn of(matches: &ArgMatches) -> Vec<Given> {
        let options = NatsOptions::augment_args(Command::new("nats"));
        let given = options.get_arguments().filter_map(|option| {
            let key = option.get_id().as_str();
            let origin = match matches.value_source(key)? {
                ValueSource::CommandLine => {
                    Origin::Option { option: format!("--{}", option.get_long()?) }
                }
                ValueSource::EnvVariable => Origin::Environment {
                    variable: option.get_env()?.to_string_lossy().into_owned(),
                },
                _ => return None,
            };
            let value = matches.get_raw(key)?.next_back()?.to_string_lossy().into_owned();
            Some(Given { key: key.to_owned(), value, origin })
        });
        given.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_option_has_the_name_of_a_key() {
        let keys = serde_json::to_value(NatsOptions::default()).unwrap();
        let options = NatsOptions::augment_args(Command::new("nats"));
        for option in options.get_arguments() {
            assert!(keys.get(option.get_id().as_str()).is_some(), "{option}");
        }
    }

    #[test]
    fn what_was_given_is_known_with_how_and_nothing_else_is() {
        let options = NatsOptions::augment_args(Command::new("nats").no_binary_name(true));
        // Variables of whoever runs the tests.
        let options = options.mut_args(|arg| arg.env(None));
        let matches = options.get_matches_from(["--server", "nats://a", "--timeout=7s"]);
        let given: Vec<_> =
            Given::of(&matches).into_iter().map(|given| (given.key, given.value)).collect();
        let wanted = [("server", "nats://a"), ("timeout", "7s")];
        assert_eq!(given, wanted.map(|(key, value)| (key.to_owned(), value.to_owned())));
    }
}
