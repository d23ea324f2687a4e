//! The effective configuration, as it is printed.

use damocles_client::connect::{Layers, NatsOptions};
use damocles_daemon::config::{KeyPath, Origin, Setting, setting};
use serde_json::Value;

use crate::{
    CliError, Exit, Given, ReplyOutput, json, jsonl,
    table::{LookArgs, Row, Shown, Table, show},
};

/// How NATS is reached: what was given on the command line and in the environment, else what the
/// file says, `origin` where, else a context, else what holds by default.
pub fn nats(
    options: &NatsOptions,
    given: Vec<Given>,
    file: &NatsOptions,
    origin: impl Fn(&KeyPath) -> Origin,
) -> Result<Vec<Setting>, CliError> {
    let layers = Layers::of(options, file)?;
    let named = options.context.clone().or_else(|| file.context.clone());
    let context = Origin::Context { context: named.unwrap_or_default() };
    let failed = |error| CliError::new(Exit::Failed, error);
    let written = |options: &NatsOptions| serde_json::to_value(options).map_err(failed);
    let (file, of_context) = (written(&layers.file)?, written(&layers.context)?);
    let defaults = written(&NatsOptions::defaults())?;
    let keys = defaults.as_object().into_iter().flatten();
    let settings = keys.map(|(key, default)| {
        let at = KeyPath::of(&["nats", key]);
        let said = |layer: &Value| layer.get(key).filter(|value| !value.is_null()).cloned();
        let (value, origin) = if let Some(given) = given.iter().find(|given| given.key == *key) {
            (given.value.as_str().into(), given.origin.clone())
        } else if let Some(value) = said(&file) {
            (value, origin(&at))
        } else if let Some(value) = said(&of_context) {
            (value, context.clone())
        } else {
            (default.clone(), Origin::Default)
        };
        setting(&at, value, origin)
    });
    Ok(settings.collect())
}

/// Prints all of it.
pub fn print(settings: &[Setting], output: ReplyOutput, look: LookArgs) -> Result<(), CliError> {
    let shown: Shown = match output {
        ReplyOutput::Plain => to_table(settings).into(),
        ReplyOutput::Json => json(&settings)?.into(),
        ReplyOutput::Jsonl => jsonl(settings)?.into(),
    };
    show(&shown, look)
}

fn to_table(settings: &[Setting]) -> Table {
    let rows = settings.iter().map(|Setting { key, value, origin }| {
        let value = if *value == Value::Null { "-".to_owned() } else { value.to_string() };
        Row::new(vec![key.clone(), value, words(origin)])
    });
    Table::new(&["Key", "Value", "From"], rows.collect())
}

fn words(origin: &Origin) -> String {
    match origin {
        Origin::Default => "default".to_owned(),
        Origin::File { file, line } => format!("{file}:{line}"),
        Origin::Context { context } => format!("context {context}"),
        Origin::Environment { variable } => format!("${variable}"),
        Origin::Option { option } => option.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::Look;

    #[test]
    fn what_was_given_stands_in_for_what_a_file_says_and_secrets_are_hidden() {
        let file = NatsOptions {
            server: Some("nats://u:hunter2@a".to_owned().into()),
            timeout: Some(std::time::Duration::from_secs(2)),
            ..NatsOptions::default()
        };
        let variable = Origin::Environment { variable: "NATS_TOKEN".into() };
        let given = Given { key: "token".into(), value: "hunter2".into(), origin: variable };
        let in_file = |_: &KeyPath| Origin::File { file: "w.toml".into(), line: 2 };
        let all = nats(&NatsOptions::default(), vec![given], &file, in_file).unwrap();
        let table = to_table(&all).text(&Look::default());
        let rows: Vec<Vec<_>> =
            table.lines().map(|line| line.split_whitespace().collect()).collect();
        for row in [
            ["nats.server", "\"…@a\"", "w.toml:2"],
            ["nats.token", "\"(hidden)\"", "$NATS_TOKEN"],
            ["nats.timeout", "\"2s\"", "w.toml:2"],
            ["nats.prefix", "\"damocles\"", "default"],
            ["nats.creds", "-", "default"],
        ] {
            assert!(rows.iter().any(|shown| *shown == row), "{row:?}\n{table}");
        }
        assert!(!table.contains("hunter2"), "{table}");
    }
}
