//! The stream of events, as the server keeps it: one sequence for all, appends only behind what the
//! sender has seen.

use damocles_worker::events::EventStream;
use futures::future::BoxFuture;
use shared_msgs::event::{Event, EventId};

use super::{adapter::SimulatedBus, bus::ask_server};

impl EventStream for SimulatedBus {
    fn last(&self) -> BoxFuture<'_, Result<u64, String>> {
        let name = self.line.name;
        Box::pin(ask_server(&self.world, &self.line, move |world| world.server().last_event(name)))
    }

    fn after(&self, sequence: u64) -> BoxFuture<'_, Result<Option<(u64, EventId)>, String>> {
        let name = self.line.name;
        Box::pin(ask_server(&self.world, &self.line, move |world| {
            let server = world.server();
            let found = server.events[name].iter().find(|(known, _)| *known > sequence);
            found.map(|(known, event)| (*known, event.id))
        }))
    }

    fn append<'a>(&'a self, last: u64, event: &'a Event) -> BoxFuture<'a, Result<u64, String>> {
        let (name, number, event) = (self.line.name, self.line.process, event.clone());
        self.world.history().attribute(event.id.store, self.line.process, event.index.unwrap_or(0));
        Box::pin(async move {
            let appended = ask_server(&self.world, &self.line, move |world| {
                let mut server = world.server();
                if server.last_event(name) != last {
                    drop(server);
                    world.count("an event was refused behind another one");
                    world.say(|| {
                        format!(
                            "p{number} appends {:?} #{:?} behind {last}: refused",
                            event.kind, event.index
                        )
                    });
                    return Err("wrong last sequence".to_owned());
                }
                server.sequence += 1;
                let sequence = server.sequence;
                world.say(|| {
                    format!("p{number} appends {:?} #{:?}: {sequence}", event.kind, event.index)
                });
                server.events[name].push((sequence, event));
                Ok(sequence)
            });
            appended.await?
        })
    }
}
