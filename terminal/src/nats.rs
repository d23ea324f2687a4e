//! How to reach NATS: the options of every command.

use std::{path::PathBuf, time::Duration};

use clap::Args;
use damocles_client::connect::NatsOptions;
use shared_msgs::subject::Prefix;

/// How to reach NATS: the options of every command.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "NATS")]
pub struct NatsArgs {
    /// NATS server URLs, separated by commas [default: nats://127.0.0.1:4222]
    #[arg(short = 's', long, env = "NATS_URL", global = true, value_name = "URL")]
    pub server: Option<String>,
    /// File with user credentials (JWT and nkey seed)
    #[arg(long, env = "NATS_CREDS", global = true, value_name = "FILE")]
    pub creds: Option<PathBuf>,
    /// File with an nkey seed
    #[arg(long, env = "NATS_NKEY", global = true, value_name = "FILE")]
    pub nkey: Option<PathBuf>,
    /// User name
    #[arg(long, env = "NATS_USER", global = true)]
    pub user: Option<String>,
    /// Password
    #[arg(long, env = "NATS_PASSWORD", global = true, hide_env_values = true)]
    pub password: Option<String>,
    /// File with the certificate authorities to trust (PEM)
    #[arg(long, env = "NATS_CA", global = true, value_name = "FILE")]
    pub tlsca: Option<PathBuf>,
    /// File with the client certificate (PEM)
    #[arg(long, env = "NATS_CERT", global = true, value_name = "FILE")]
    pub tlscert: Option<PathBuf>,
    /// File with the client certificate's key (PEM)
    #[arg(long, env = "NATS_KEY", global = true, value_name = "FILE")]
    pub tlskey: Option<PathBuf>,
    /// How long to wait for an answer [default: 5s]
    #[arg(long, env = "NATS_TIMEOUT", global = true, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub timeout: Option<Duration>,
    /// First part of every subject [default: damocles]
    #[arg(long, env = "DAMOCLES_PREFIX", global = true)]
    pub prefix: Option<Prefix>,
}

impl From<&NatsArgs> for NatsOptions {
    fn from(args: &NatsArgs) -> NatsOptions {
        let NatsArgs {
            server,
            creds,
            nkey,
            user,
            password,
            tlsca,
            tlscert,
            tlskey,
            timeout,
            prefix,
        } = args.clone();
        NatsOptions { server, creds, nkey, user, password, tlsca, tlscert, tlskey, timeout, prefix }
    }
}
