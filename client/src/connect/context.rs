//! Contexts of the `nats` client (NATS ADR-21): files that say where NATS is and how to log in.
//! Only one that is named counts: which one the client has selected is for that client.

use std::{
    env,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value};

use super::{
    error::{ConnectError, NatsFile},
    options::NatsOptions,
};

/// Fields that say nothing about a connection.
const FOR_PEOPLE: [&str; 4] = ["name", "description", "color_scheme", "jetstream_event_prefix"];
/// Where the client finds values that do not stand in the file.
const ELSEWHERE: [&str; 4] = ["env:", "op:", "nsc:", "data:"];

/// What a context says. It is named as for the `nats` client: a name, or a file that ends with
/// `.json`.
pub(super) fn load(name: &str) -> Result<NatsOptions, ConnectError> {
    load_from(name, home().as_deref(), directory().as_deref())
}

fn load_from(
    name: &str,
    home: Option<&Path>,
    directory: Option<&Path>,
) -> Result<NatsOptions, ConnectError> {
    let path = match directory {
        _ if name.ends_with(".json") && Path::new(name).is_file() => PathBuf::from(name),
        _ if name.is_empty() || name.contains("..") || name.contains('/') => {
            return Err(ConnectError::Settings(format!(
                "{name:?} is no name of a context, and no file *.json"
            )));
        }
        Some(directory) => directory.join(format!("{name}.json")),
        None => {
            return Err(ConnectError::Settings(format!(
                "context {name:?}: HOME is not set; name the context's file *.json"
            )));
        }
    };
    let unusable = |error: String| NatsFile::Context.unusable(&path, error);
    let text = std::fs::read_to_string(&path).map_err(|error| {
        let others = directory.map(known).unwrap_or_default();
        let others =
            if others.is_empty() { String::new() } else { format!("; there are {others}") };
        unusable(format!("{error}{others}"))
    })?;
    // What the parser says may be part of a value.
    let fields: Map<String, Value> = serde_json::from_str(&text)
        .map_err(|error| unusable(format!("line {}: it is no JSON object", error.line())))?;
    read(fields, home).map_err(unusable)
}

fn read(fields: Map<String, Value>, home: Option<&Path>) -> Result<NatsOptions, String> {
    let mut options = NatsOptions::default();
    for (field, value) in fields {
        let text = match value {
            Value::Null | Value::Bool(false) => continue,
            Value::Array(values) if values.is_empty() => continue,
            Value::String(text) if text.is_empty() => continue,
            Value::String(text) => Some(text),
            _ => None,
        };
        if FOR_PEOPLE.contains(&&field[..]) {
            continue;
        }
        let text = || {
            let text = text.as_deref().ok_or_else(|| format!("`{field}` is no text"))?;
            match ELSEWHERE.iter().find(|scheme| text.starts_with(**scheme)) {
                None => Ok(text),
                Some(scheme) => Err(format!(
                    "`{field}` stands elsewhere ({scheme}…), where only the nats client looks: write it out"
                )),
            }
        };
        let file = || place(text()?, home).map(Some).map_err(|error| format!("`{field}`: {error}"));
        match &field[..] {
            "url" => options.server = Some(text()?.into()),
            "user" => options.user = Some(text()?.into()),
            "password" => options.password = Some(text()?.into()),
            "token" => options.token = Some(text()?.into()),
            "creds" => options.creds = file()?,
            "nkey" => options.nkey = file()?,
            "ca" => options.tlsca = file()?,
            "cert" => options.tlscert = file()?,
            "key" => options.tlskey = file()?,
            _ => {
                return Err(format!(
                    "`{field}` is set, which is not supported here: {}",
                    instead(&field)
                ));
            }
        }
    }
    Ok(options)
}

fn instead(field: &str) -> &'static str {
    match field {
        "nsc" | "user_jwt" | "user_seed" => "make a file of the user's credentials, for `creds`",
        _ => "take a context without it, or give server and login themselves",
    }
}

// A path as the client writes it.
fn place(path: &str, home: Option<&Path>) -> Result<PathBuf, String> {
    let path = path.strip_prefix("file://").unwrap_or(path);
    if path.contains('$') {
        return Err("a path with a variable in it is not supported here: write it out".into());
    }
    match path.strip_prefix('~') {
        None => Ok(path.into()),
        Some(rest) if rest.is_empty() || rest.starts_with('/') => {
            let home = home.ok_or("HOME is not set: write the path out")?;
            Ok(home.join(rest.trim_start_matches('/')))
        }
        Some(_) => Err("somebody else's ~ is not supported here: write the path out".into()),
    }
}

fn known(directory: &Path) -> String {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<_> =
        names.filter_map(|name| name.strip_suffix(".json").map(str::to_owned)).collect();
    names.sort();
    names.join(", ")
}

fn home() -> Option<PathBuf> {
    env::home_dir().filter(|home| !home.as_os_str().is_empty())
}

fn directory() -> Option<PathBuf> {
    let config = env::var_os("XDG_CONFIG_HOME").filter(|config| !config.is_empty());
    let config = config.map(PathBuf::from).or_else(|| Some(home()?.join(".config")))?;
    Some(config.join("nats/context"))
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    fn read(text: &str) -> Result<NatsOptions, String> {
        super::read(serde_json::from_str(text).unwrap(), Some(Path::new("/home/ann")))
    }

    #[test]
    fn a_context_says_what_the_client_writes_into_it() {
        // As `nats context save` writes one: every field, most of them empty.
        let text = r#"{"name": "prod", "description": "for people", "url": "nats://a:1,nats://b:2", "socks_proxy": "", "token": "",
            "user": "ann", "password": "secret", "creds": "", "nkey": "", "cert": "~/c.pem", "key": "file:///k.pem", "ca": "/ca.pem",
            "nsc": "", "jetstream_domain": "", "jetstream_api_prefix": "", "jetstream_event_prefix": "", "inbox_prefix": "",
            "user_jwt": "", "user_seed": "", "color_scheme": "cyan", "tls_first": false, "windows_cert_store": "",
            "windows_ca_certs_match": null}"#;
        let options = read(text).unwrap();
        assert_eq!(options.server.unwrap().expose_secret(), "nats://a:1,nats://b:2");
        assert_eq!(options.user.as_deref(), Some("ann"));
        assert_eq!(options.password.unwrap().expose_secret(), "secret");
        assert!(options.token.is_none() && options.creds.is_none() && options.nkey.is_none());
        let tls = [options.tlscert, options.tlskey, options.tlsca].map(Option::unwrap);
        assert_eq!(
            tls.map(|path| path.display().to_string()),
            ["/home/ann/c.pem", "/k.pem", "/ca.pem"]
        );
    }

    #[test]
    fn a_field_that_is_not_supported_is_named_without_its_value() {
        for (field, value) in [
            ("inbox_prefix", "\"hunter2\""),
            ("jetstream_domain", "\"hunter2\""),
            ("tls_first", "true"),
            ("user_seed", "\"hunter2\""),
            ("of_tomorrow", "{\"hunter2\": 1}"),
            ("password", "4711"),
            ("password", "\"op://vault/hunter2\""),
            ("creds", "\"$HOME/hunter2\""),
            ("creds", "\"~bob/hunter2\""),
        ] {
            let error = read(&format!("{{\"{field}\": {value}}}")).unwrap_err();
            assert!(error.contains(&format!("`{field}`")), "{error}");
            assert!(!error.contains("hunter2") && !error.contains("4711"), "{error}");
        }
    }

    #[test]
    fn a_context_that_is_not_there_is_named_with_those_that_are() {
        let directory = env::temp_dir().join(format!("contexts-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let broken = directory.join("broken.json");
        std::fs::write(&broken, "{\n\"password\": hunter2}").unwrap();
        std::fs::write(directory.join("prod.json"), "{\"user\": \"ann\"}").unwrap();
        let load = |name: &str| {
            let loaded = load_from(name, None, Some(&directory));
            loaded.map(|options| options.user).map_err(|error| error.to_string())
        };
        assert_eq!(load("prod").unwrap().as_deref(), Some("ann"));
        let error = load("prdo").unwrap_err();
        assert!(error.contains("prdo.json") && error.contains("there are broken, prod"), "{error}");
        let error = load("broken").unwrap_err();
        assert!(error.contains("line 2") && !error.contains("hunter2"), "{error}");
        assert_eq!(load(broken.to_str().unwrap()).unwrap_err(), error);
        for name in ["", "../prod", "a/b", "/nowhere/x.json"] {
            assert!(load(name).unwrap_err().contains("no name of a context"), "{name}");
        }
        assert!(load_from("prod", None, None).unwrap_err().to_string().contains("HOME"));
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
