//! Who pushes metrics: begun, replaced and ended as the settings say, on the thread of the web
//! server, which has no other work between scrapes either.

use std::{sync::Arc, time::Duration};

use tokio::{runtime::Handle, task::JoinHandle};

use crate::{
    delivery::{
        Sends,
        push::{Pusher, Pushes, Source},
    },
    otlp::metrics::ExportMetricsServiceRequest,
    settings::feed::PushSettings,
};

/// Pushes what the source has, by settings, while there are any.
pub(super) struct Pushing<S> {
    runtime: Handle,
    source: Arc<S>,
    pushes: Pushes,
    present: Option<Present>,
}

struct Present {
    settings: PushSettings,
    task: JoinHandle<()>,
}

/// By which settings it is to go on; without any, nothing is pushed.
pub(super) struct Next(pub(super) Option<PushSettings>);

impl<S: Source + Send + Sync + 'static> Pushing<S> {
    /// Nothing is pushed yet.
    pub(super) fn new(runtime: Handle, source: Arc<S>) -> Self {
        Self {
            runtime,
            source,
            pushes: Pushes::default(),
            present: None,
        }
    }

    /// Goes on by that, at once.
    pub(super) fn go_on(&mut self, Next(settings): Next) {
        self.end();
        self.present = settings.map(|settings| {
            let pusher = Pusher::new(&settings, self.pushes.clone());
            let source = Arc::clone(&self.source);
            let push = async move { pusher.run(&*source).await };
            let task = self.runtime.spawn(push);
            Present { settings, task }
        });
    }

    /// Pushes by what came of them; `None`: none are made.
    pub(super) fn pushes(&self) -> Option<Sends> {
        self.present.as_ref().map(|_| self.pushes.until_now())
    }

    /// Makes the last push, for which there is so much time at most, and no more after it. Does
    /// not wait for it.
    pub(super) fn last(
        &mut self,
        message: ExportMetricsServiceRequest,
        most: Duration,
    ) -> Option<JoinHandle<()>> {
        let mut settings = self.end()?;
        settings.target.timeout = settings.target.timeout.min(most);
        let pusher = Pusher::new(&settings, self.pushes.clone());
        Some(self.runtime.spawn(async move {
            pusher.last(&message).await;
        }))
    }

    fn end(&mut self) -> Option<PushSettings> {
        let Present { settings, task } = self.present.take()?;
        task.abort();
        Some(settings)
    }
}

#[cfg(test)]
mod tests;
