//! The sector manager over NATS: `sector_manager.<w>.<method>`, request-reply.

use futures::future::BoxFuture;
use tokio::time::timeout;

use super::NatsBus;
use crate::{
    link::connected,
    sector_manager::{SectorManager, Unavailable},
};

impl SectorManager for NatsBus {
    fn ask<'a>(
        &'a self,
        method: &'static str,
        body: Vec<u8>,
    ) -> BoxFuture<'a, Result<Vec<u8>, Unavailable>> {
        Box::pin(async move {
            let mut link = self.link.clone();
            if !connected(&mut link).await {
                return Err(Unavailable("the connection to NATS is closed".into()));
            }
            let subject = self.prefix.sector_manager(&self.worker, method);
            let asking = self.client.request(subject, body.into());
            match timeout(self.timeout, asking).await {
                Ok(Ok(message)) => Ok(message.payload.to_vec()),
                Ok(Err(error)) => Err(Unavailable(error.to_string())),
                Err(_) => Err(Unavailable(format!(
                    "no answer within {}",
                    shared_msgs::duration::human(self.timeout)
                ))),
            }
        })
    }
}
