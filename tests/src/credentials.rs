//! What clients log in to NATS with: keys, credentials as an operator's `nsc` makes them,
//! certificates.

use std::path::{Path, PathBuf};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use nkeys::KeyPair;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair as TlsKey};
use serde_json::{Value, json};

/// An operator with one account, and the users that it makes.
pub struct Operator {
    account: KeyPair,
    operator_jwt: String,
    account_jwt: String,
}

impl Default for Operator {
    fn default() -> Operator {
        let (operator, account) = (KeyPair::new_operator(), KeyPair::new_account());
        let limits = json!({"subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1,
            "wildcards": true, "conn": -1, "leaf": -1});
        let operator_jwt = jwt(&operator, &operator, json!({"type": "operator"}));
        let account_jwt = jwt(&account, &operator, json!({"type": "account", "limits": limits}));
        Operator { account, operator_jwt, account_jwt }
    }
}

impl Operator {
    /// The configuration of a server of this operator.
    pub fn server_config(&self) -> String {
        format!(
            "operator: {}\nresolver: MEMORY\nresolver_preload: {{ {}: {} }}\n",
            self.operator_jwt,
            self.account.public_key(),
            self.account_jwt
        )
    }

    /// The credentials of a new user, as a file has them.
    pub fn credentials(&self) -> String {
        let user = KeyPair::new_user();
        let limits =
            json!({"type": "user", "pub": {}, "sub": {}, "subs": -1, "data": -1, "payload": -1});
        let (jwt, seed) = (jwt(&user, &self.account, limits), user.seed().unwrap());
        format!(
            "-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n\
             -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
        )
    }
}

fn jwt(subject: &KeyPair, issuer: &KeyPair, mut nats: Value) -> String {
    nats["version"] = 2.into();
    let claims = json!({"jti": subject.public_key(), "iat": 1, "iss": issuer.public_key(),
        "name": "test", "sub": subject.public_key(), "nats": nats});
    let parts = [json!({"typ": "JWT", "alg": "ed25519-nkey"}), claims];
    let signed = parts.map(|part| URL_SAFE_NO_PAD.encode(part.to_string())).join(".");
    let signature = issuer.sign(signed.as_bytes()).unwrap();
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// Files of a certificate authority, and of a certificate of 127.0.0.1 by it with its key.
pub struct Certificates {
    /// The authority.
    pub ca: PathBuf,
    /// The certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

impl Certificates {
    /// Makes them in a directory.
    pub fn make(directory: &Path) -> Certificates {
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority =
            CertifiedIssuer::self_signed(authority, TlsKey::generate().unwrap()).unwrap();
        let key = TlsKey::generate().unwrap();
        let host = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        let certificate = host.signed_by(&key, &authority).unwrap();
        let write = |name: &str, pem: String| {
            let path = directory.join(name);
            std::fs::write(&path, pem).unwrap();
            path
        };
        Certificates {
            ca: write("ca.pem", authority.pem()),
            certificate: write("certificate.pem", certificate.pem()),
            key: write("key.pem", key.serialize_pem()),
        }
    }

    /// What a server of these is configured with.
    pub fn server_config(&self, more: &str) -> String {
        let path = |path: &Path| Value::from(path.to_str().unwrap()).to_string();
        format!(
            "tls {{ cert_file: {}, key_file: {}, ca_file: {}, {more} }}\n",
            path(&self.certificate),
            path(&self.key),
            path(&self.ca)
        )
    }
}
