//! Who one is to NATS: a login is chosen once, from what was said, and its files are read anew each
//! time that it is needed, so that one that was replaced counts from the next login on.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use async_nats::Auth;
use nkeys::KeyPair;
use secrecy::{ExposeSecret, SecretString};

use super::{
    error::{ConnectError, NatsFile},
    options::NatsOptions,
};

/// Who one is.
#[derive(Clone, Debug)]
pub(super) enum Login {
    User(String, Password),
    Token(SecretString),
    /// File with a user's nkey seed.
    Nkey(PathBuf),
    /// File with a user's JWT and nkey seed.
    Creds(PathBuf),
}

#[derive(Clone, Debug)]
pub(super) enum Password {
    Given(SecretString),
    File(PathBuf),
}

/// The ways to log in that a layer of options names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    User,
    Token,
    Nkey,
    Creds,
}

impl Way {
    fn named(options: &NatsOptions) -> Vec<Way> {
        let NatsOptions { user, password, password_file, token, nkey, creds, .. } = options;
        let named = [
            (Way::User, user.is_some() || password.is_some() || password_file.is_some()),
            (Way::Token, token.is_some()),
            (Way::Nkey, nkey.is_some()),
            (Way::Creds, creds.is_some()),
        ];
        named.into_iter().filter(|(_, is_named)| *is_named).map(|(way, _)| way).collect()
    }

    fn key(self) -> &'static str {
        match self {
            Way::User => "user",
            Way::Token => "token",
            Way::Nkey => "nkey",
            Way::Creds => "creds",
        }
    }

    fn options(self) -> &'static str {
        match self {
            Way::User => "--user with --password or --password-file (NATS_USER, NATS_PASSWORD, …)",
            Way::Token => "--token (NATS_TOKEN)",
            Way::Nkey => "--nkey (NATS_NKEY)",
            Way::Creds => "--creds (NATS_CREDS)",
        }
    }
}

fn two_logins(one: Way, other: Way) -> String {
    format!(
        "two logins are given, {} and {}: leave one out; an empty variable counts as none",
        one.options(),
        other.options()
    )
}

const TWO_PASSWORDS: &str =
    "two passwords are given, --password (NATS_PASSWORD) and --password-file: leave one out";

/// Why a layer of options says twice who one is, and the key of the second.
pub(super) fn one_of_two(options: &NatsOptions) -> Option<(&'static str, String)> {
    match Way::named(options)[..] {
        [one, other, ..] => Some((other.key(), two_logins(one, other))),
        _ if options.password.is_some() && options.password_file.is_some() => {
            Some(("password_file", TWO_PASSWORDS.to_owned()))
        }
        _ => None,
    }
}

/// Whether a layer of options says who one is.
pub(super) fn is_named(options: &NatsOptions) -> bool {
    !Way::named(options).is_empty()
}

impl Login {
    /// The login that the options name, the first layer before the others: it says which way, and a
    /// user's name or password may come from one behind it.
    pub(super) fn choose(layers: &[&NatsOptions]) -> Result<Option<Login>, ConnectError> {
        let ways = layers.iter().map(|layer| Way::named(layer)).find(|ways| !ways.is_empty());
        let way = match ways.as_deref() {
            None | Some([]) => return Ok(None),
            Some([way]) => way,
            Some([one, other, ..]) => return Err(ConnectError::Settings(two_logins(*one, *other))),
        };
        Ok(match way {
            Way::User => Some(user(layers)?),
            Way::Token => first(layers, |layer| &layer.token).map(Login::Token),
            Way::Nkey => first(layers, |layer| &layer.nkey).map(Login::Nkey),
            Way::Creds => first(layers, |layer| &layer.creds).map(Login::Creds),
        })
    }

    /// What to answer to a server's nonce. Its files are read now.
    pub(super) async fn auth(&self, nonce: &[u8]) -> Result<Auth, ConnectError> {
        let mut auth = Auth::new();
        match self {
            Login::User(user, password) => {
                auth.username = Some(user.clone());
                auth.password = Some(password.read().await?);
            }
            Login::Token(token) => auth.token = Some(token.expose_secret().to_owned()),
            Login::Nkey(path) => {
                let text = read(NatsFile::Nkey, path).await?;
                let (key, signature) =
                    sign(&text, nonce).map_err(|error| NatsFile::Nkey.unusable(path, error))?;
                (auth.nkey, auth.signature) = (Some(key), Some(signature));
            }
            Login::Creds(path) => {
                let text = read(NatsFile::Creds, path).await?;
                let unusable = |error: String| NatsFile::Creds.unusable(path, error);
                let jwt = jwt(&text).ok_or_else(|| {
                    unusable("it holds no user JWT (a line behind BEGIN NATS USER JWT)".into())
                })?;
                let (_, signature) = sign(&text, nonce).map_err(unusable)?;
                (auth.jwt, auth.signature) = (Some(jwt.to_owned()), Some(signature));
            }
        }
        Ok(auth)
    }

    /// What it consists of.
    #[cfg(test)]
    pub(super) fn secrets(&self) -> Vec<String> {
        let text = |secret: &SecretString| secret.expose_secret().to_owned();
        match self {
            Login::User(user, Password::Given(password)) => vec![user.clone(), text(password)],
            Login::Token(token) => vec![text(token)],
            Login::User(user, Password::File(path)) => {
                vec![user.clone(), path.display().to_string()]
            }
            Login::Nkey(path) | Login::Creds(path) => vec![path.display().to_string()],
        }
    }
}

/// For people; it names no user.
impl fmt::Display for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Login::User(_, Password::Given(_)) => write!(f, "this user and password"),
            Login::User(_, Password::File(path)) => {
                write!(f, "this user with the password in {}", path.display())
            }
            Login::Token(_) => write!(f, "this token"),
            Login::Nkey(path) => write!(f, "the nkey in {}", path.display()),
            Login::Creds(path) => write!(f, "the credentials in {}", path.display()),
        }
    }
}

impl Password {
    async fn read(&self) -> Result<String, ConnectError> {
        match self {
            Password::Given(password) => Ok(password.expose_secret().to_owned()),
            Password::File(path) => {
                let text = read(NatsFile::Password, path).await?;
                match text.trim_end_matches(['\r', '\n']) {
                    "" => Err(NatsFile::Password.unusable(path, "it is empty")),
                    password => Ok(password.to_owned()),
                }
            }
        }
    }
}

/// What the first layer says that says it.
pub(super) fn first<T: Clone>(
    layers: &[&NatsOptions],
    of: impl Fn(&NatsOptions) -> &Option<T>,
) -> Option<T> {
    layers.iter().find_map(|layer| of(layer).clone())
}

fn user(layers: &[&NatsOptions]) -> Result<Login, ConnectError> {
    let password = layers.iter().find_map(|layer| match (&layer.password, &layer.password_file) {
        (Some(_), Some(_)) => Some(Err(ConnectError::Settings(TWO_PASSWORDS.into()))),
        (Some(password), None) => Some(Ok(Password::Given(password.clone()))),
        (None, Some(path)) => Some(Ok(Password::File(path.clone()))),
        (None, None) => None,
    });
    match (first(layers, |layer| &layer.user), password.transpose()?) {
        (Some(user), Some(password)) => Ok(Login::User(user, password)),
        _ => Err(ConnectError::Settings(
            "--user and --password or --password-file go together; a token alone is --token".into(),
        )),
    }
}

async fn read(file: NatsFile, path: &Path) -> Result<String, ConnectError> {
    tokio::fs::read_to_string(path).await.map_err(|error| file.unusable(path, error))
}

// The public key of the user's seed in that text, and what signs the nonce.
fn sign(text: &str, nonce: &[u8]) -> Result<(String, Vec<u8>), String> {
    let seed = text.lines().map(str::trim).find(|line| line.starts_with("SU"));
    let seed = seed.ok_or("it holds no user seed (a line SU…)")?;
    let key = KeyPair::from_seed(seed)
        .map_err(|error| format!("its user seed (a line SU…) is none: {}", error.kind()))?;
    let signature = key.sign(nonce).map_err(|error| error.kind().to_string())?;
    Ok((key.public_key(), signature))
}

fn jwt(text: &str) -> Option<&str> {
    let begin = |line: &&str| line.starts_with("---") && line.contains("BEGIN NATS USER JWT");
    let mut lines = text.lines().map(str::trim).skip_while(|line| !begin(line)).skip(1);
    lines.next().filter(|line| !line.is_empty() && !line.starts_with('-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(set: impl Fn(&mut NatsOptions)) -> NatsOptions {
        let mut options = NatsOptions::default();
        set(&mut options);
        options
    }

    fn chosen(layers: &[NatsOptions]) -> Result<Option<Vec<String>>, String> {
        let login = Login::choose(&layers.iter().collect::<Vec<_>>());
        Ok(login.map_err(|error| error.to_string())?.map(|login| login.secrets()))
    }

    #[test]
    fn the_first_layer_that_names_a_login_says_which() {
        let user = layer(|options| options.user = Some("u".into()));
        let password = layer(|options| options.password = Some("p".into()));
        let token = layer(|options| options.token = Some("t".into()));
        let creds = layer(|options| options.creds = Some("c".into()));
        let none = NatsOptions::default();
        assert_eq!(chosen(&[none.clone(), none.clone()]).unwrap(), None);
        assert_eq!(chosen(&[none, creds.clone()]).unwrap().unwrap(), ["c"]);
        assert_eq!(chosen(&[token.clone(), creds.clone()]).unwrap().unwrap(), ["t"]);
        assert_eq!(chosen(&[creds, token]).unwrap().unwrap(), ["c"]);
        // A password in the environment, its user in the file.
        assert_eq!(chosen(&[password, user.clone()]).unwrap().unwrap(), ["u", "p"]);
        let file = layer(|options| options.password_file = Some("f".into()));
        assert_eq!(chosen(&[user, file]).unwrap().unwrap(), ["u", "f"]);
    }

    #[test]
    fn a_login_that_is_not_whole_or_not_the_only_one_is_refused_with_the_way_out() {
        let refused = |layers: &[NatsOptions]| chosen(layers).unwrap_err();
        let user = layer(|options| options.user = Some("u".into()));
        assert!(refused(&[user]).contains("--password"));
        let both = layer(|options| {
            (options.token, options.creds) = (Some("hunter2".into()), Some("c".into()));
        });
        let said = refused(&[both]);
        assert!(said.contains("--token (NATS_TOKEN) and --creds (NATS_CREDS)"), "{said}");
        assert!(!said.contains("hunter2"));
        let passwords = layer(|options| {
            options.user = Some("u".into());
            (options.password, options.password_file) = (Some("hunter2".into()), Some("f".into()));
        });
        assert!(refused(&[passwords]).contains("two passwords"));
    }

    #[test]
    fn seed_and_jwt_are_found_where_they_stand() {
        let key = KeyPair::new_user();
        let seed = key.seed().unwrap();
        let creds = format!(
            "-----BEGIN NATS USER JWT-----\r\neyJ0.x.y\r\n------END NATS USER JWT------\r\n\r\n-----BEGIN USER NKEY SEED-----\r\n{seed}\r\n------END USER NKEY SEED------\r\n"
        );
        assert_eq!(jwt(&creds), Some("eyJ0.x.y"));
        for text in [creds.clone(), seed.clone(), format!("# mine\n  {seed}\n")] {
            let (public, signature) = sign(&text, b"nonce").unwrap();
            assert_eq!(public, key.public_key());
            key.verify(b"nonce", &signature).unwrap();
        }
        assert_eq!(jwt(&creds.replace("eyJ0.x.y", "")), None);
        assert_eq!(jwt(&seed), None);
    }

    #[test]
    fn what_is_no_seed_is_not_shown() {
        let seed = KeyPair::new_user().seed().unwrap();
        let account = KeyPair::new_account().seed().unwrap();
        let (wrong, short) = (seed.replace(&seed[20..24], "AAAA"), &seed[..30]);
        for text in ["", &account, &wrong, short, "SU", "SU!!!"] {
            let error = sign(text, b"").unwrap_err();
            assert!(error.contains("user seed (a line SU…)"), "{text}: {error}");
            assert!(text.len() < 3 || !error.contains(text), "{error}");
        }
    }

    #[tokio::test]
    async fn a_password_file_is_read_at_each_login_without_its_line_end() {
        let file = std::env::temp_dir().join(format!("password-{}", std::process::id()));
        let login = Login::User("u".into(), Password::File(file.clone()));
        for (text, password) in
            [("one\n", Some("one")), ("t w o \r\n", Some("t w o ")), ("\n", None)]
        {
            std::fs::write(&file, text).unwrap();
            let auth = login.auth(b"").await;
            assert_eq!(auth.ok().and_then(|auth| auth.password).as_deref(), password);
        }
        std::fs::remove_file(&file).unwrap();
        let error = login.auth(b"").await.err().unwrap().to_string();
        assert!(error.contains("password file") && error.contains("No such file"), "{error}");
    }
}
