//! Who pushes metrics: begun, replaced and ended as the settings say, on the thread of the web
//! server, which has no other work between scrapes either.

use std::{sync::Arc, time::Duration};

use log::warn;
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

/// By which settings it is to go on.
pub(super) struct Next(Option<(PushSettings, Pusher)>);

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

    /// What these settings ask for. Nobody is asked yet.
    ///
    /// # Errors
    /// If the URL is none, in words for the user.
    pub(super) fn next(&self, settings: Option<&PushSettings>) -> Result<Next, String> {
        let next = settings.map(|settings| {
            let pusher = Pusher::new(settings, self.pushes.clone())?;
            Ok::<_, String>((settings.clone(), pusher))
        });
        next.transpose().map(Next)
    }

    /// Goes on by that, at once.
    pub(super) fn go_on(&mut self, Next(next): Next) {
        self.end();
        self.present = next.map(|(settings, pusher)| {
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
        let pusher = pusher.map_err(|wrong| warn!("{wrong}")).ok()?;
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
