//! The files that TLS needs, looked at before the first connection: the client reads them anew at
//! each, and says of none which it was.

use std::path::Path;

use async_nats::rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

use super::error::{ConnectError, NatsFile};

/// Whether there are certificate authorities in that file.
pub(super) async fn check_ca(path: &Path) -> Result<(), ConnectError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(NatsFile::Ca, path).await? {
        roots.add(certificate).map_err(|error| NatsFile::Ca.unusable(path, error))?;
    }
    Ok(())
}

/// Whether these are a client's certificate and its key.
pub(super) async fn check_client(certificate: &Path, key: &Path) -> Result<(), ConnectError> {
    let chain = certificates(NatsFile::Certificate, certificate).await?;
    let unusable = |error: &dyn ToString| NatsFile::Key.unusable(key, error.to_string());
    let pem = tokio::fs::read(key).await.map_err(|error| unusable(&error))?;
    // What the parser says may be part of the key.
    let private = PrivateKeyDer::from_pem_slice(&pem)
        .map_err(|_| unusable(&"it holds no private key (PEM)"))?;
    let config = ClientConfig::builder().with_root_certificates(RootCertStore::empty());
    let fits = config.with_client_auth_cert(chain, private);
    fits.map_err(|error| {
        unusable(&format!("it is not the key of {}: {error}", certificate.display()))
    })?;
    Ok(())
}

async fn certificates(
    file: NatsFile,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, ConnectError> {
    let pem = tokio::fs::read(path).await.map_err(|error| file.unusable(path, error))?;
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match read {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) | Err(_) => Err(file.unusable(path, "it holds no certificate (PEM)")),
    }
}
