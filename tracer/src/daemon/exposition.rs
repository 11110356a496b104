//! The web server and its thread, which pushes metrics as well: they ask the daemon's own thread,
//! which answers between two batches.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};
use hyper::body::Bytes;
use log::warn;
use tokio::{
    runtime::{Builder, Handle},
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::timeout,
};

use super::{
    pushing::{Next, Pushing},
    waits::time,
};
use crate::{
    delivery::{Sends, Teller, push},
    metrics::{Families, Format, otlp::Origin},
    otlp::metrics::ExportMetricsServiceRequest,
    privileges,
    settings::{MetricsSettings, change::Changes, feed::Listen},
    web::{self, Listening},
};

/// How long the web server may take to end.
const END: Duration = Duration::from_secs(1);

/// How long a question waits while the daemon still starts: shorter than the web server waits, so
/// that whoever asks is told so.
const START: Duration = Duration::from_secs(4);

/// Most threads that read secrets and look up names for pushes: one that hangs goes on hanging when
/// its push is given up.
const THREADS: usize = 8;

/// A question, and where the answer goes. That an answer comes is one, too: the pipeline works.
pub(super) enum Question {
    /// Everything that is exposed.
    Metrics(oneshot::Sender<Families>),
    /// Whether it sees, and if not, why.
    Ready(oneshot::Sender<Result<(), String>>),
}

/// Asks.
struct Asker {
    asks: mpsc::Sender<Question>,
    origin: Origin,
    /// A question was answered: it has started.
    started: AtomicBool,
}

impl Asker {
    async fn ask<T>(
        &self,
        question: impl FnOnce(oneshot::Sender<T>) -> Question,
    ) -> Result<T, String> {
        let asked = self.asked(question);
        if self.started.load(Ordering::Relaxed) {
            return asked.await;
        }
        let answer = timeout(START, asked)
            .await
            .map_err(|_| "sockpick still starts: it does not watch yet".to_owned())??;
        self.started.store(true, Ordering::Relaxed);
        Ok(answer)
    }

    async fn asked<T>(
        &self,
        question: impl FnOnce(oneshot::Sender<T>) -> Question,
    ) -> Result<T, String> {
        let (to, answer) = oneshot::channel();
        let gone = || "sockpick ends".to_owned();
        self.asks.send(question(to)).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())
    }
}

impl web::Source for Asker {
    async fn metrics(&self, format: Format) -> Result<Bytes, String> {
        let text = self.ask(Question::Metrics).await?.render(format);
        text.map(Bytes::from)
            .map_err(|error| format!("the metrics cannot be written: {error}"))
    }

    async fn health(&self) -> Result<(), String> {
        self.ask(Question::Ready).await.map(drop)
    }

    async fn ready(&self) -> Result<(), String> {
        self.ask(Question::Ready).await?
    }
}

impl push::Source for Asker {
    async fn message(&self) -> Result<ExportMetricsServiceRequest, String> {
        let families = self.ask(Question::Metrics).await?;
        Ok(families.message(&self.origin, time().wall))
    }
}

/// What else is to be in force.
#[derive(Default)]
pub(super) struct Prepared {
    /// Where else metrics will be had.
    listening: Option<Vec<Listening>>,
    /// Where else they will be pushed.
    next: Option<Next>,
}

/// Serves while it lives.
pub(super) struct Exposition {
    runtime: Handle,
    asker: Arc<Asker>,
    /// What systemd passed: served for as long as this lives.
    passed: Vec<Arc<Listening>>,
    serving: Option<JoinHandle<()>>,
    pushing: Pushing<Asker>,
    last_push: Option<JoinHandle<()>>,
    /// Ends the thread when it is dropped.
    _thread: oneshot::Sender<()>,
}

impl Exposition {
    /// Listens where the settings say, and where systemd says. Nothing is answered before the
    /// questions are taken. What is pushed is of `host`; `None`: of its host name.
    ///
    /// # Errors
    /// If it cannot listen there.
    pub(super) fn start(
        host: Option<&str>,
        listen: Option<&Listen>,
        asks: mpsc::Sender<Question>,
    ) -> Result<Self> {
        let mut builder = Builder::new_current_thread();
        let runtime = builder.max_blocking_threads(THREADS).enable_all().build()?;
        let handle = runtime.handle().clone();
        let (keep, gone) = oneshot::channel();
        thread::Builder::new()
            .name("web".to_owned())
            .spawn(move || {
                if let Err(why) = privileges::give_up() {
                    warn!("the web server keeps privileges that it does not need: {why:#}");
                }
                // It ends with its owner.
                runtime.block_on(async { gone.await.unwrap_or(()) });
                runtime.shutdown_background();
            })
            .context("cannot start the thread of the web server")?;
        let origin = Origin {
            resource: Teller::here(host).resource(),
            start: time().wall,
        };
        let asker = Arc::new(Asker {
            asks,
            origin,
            started: AtomicBool::new(false),
        });
        let mut exposition = Self {
            pushing: Pushing::new(handle.clone(), Arc::clone(&asker)),
            runtime: handle,
            asker,
            passed: Vec::new(),
            serving: None,
            last_push: None,
            _thread: keep,
        };
        let passed = {
            let _inside = exposition.runtime.enter();
            Listening::passed()?
        };
        exposition.passed = passed.into_iter().map(Arc::new).collect();
        let listening = exposition.bind(listen)?;
        exposition.serve(listening);
        Ok(exposition)
    }

    /// Has ready what changes of the settings ask for. Nothing of it is in force yet.
    ///
    /// # Errors
    /// If it cannot listen there.
    pub(super) fn prepare(
        &self,
        changes: &Changes,
        settings: &MetricsSettings,
    ) -> Result<Prepared> {
        let mut prepared = Prepared::default();
        if changes.pushes {
            prepared.next = Some(Next(settings.otlp.clone()));
        }
        if changes.metrics_listen {
            prepared.listening = Some(self.bind(settings.listen.as_ref())?);
        }
        Ok(prepared)
    }

    /// Goes on by that.
    pub(super) fn put_in_force(&mut self, prepared: Prepared) {
        if let Some(listening) = prepared.listening {
            self.serve(listening);
        }
        if let Some(next) = prepared.next {
            self.pushing.go_on(next);
        }
    }

    /// Begins to push, if the settings say so. Somebody should take questions by then.
    pub(super) fn push(&mut self, settings: &MetricsSettings) {
        self.pushing.go_on(Next(settings.otlp.clone()));
    }

    /// Pushes by what came of them; `None`: none are made.
    pub(super) fn pushes(&self) -> Option<Sends> {
        self.pushing.pushes()
    }

    /// Listens there. Nobody is served yet.
    ///
    /// # Errors
    /// If it cannot listen there.
    fn bind(&self, listen: Option<&Listen>) -> Result<Vec<Listening>> {
        let _inside = self.runtime.enter();
        listen.map(Listening::bind).into_iter().collect()
    }

    /// Serves there and where systemd says, and nowhere else any more.
    fn serve(&mut self, listening: Vec<Listening>) {
        if let Some(serving) = self.serving.take() {
            serving.abort();
        }
        let listening = listening.into_iter().map(Arc::new);
        let all = self.passed.iter().cloned().chain(listening).collect();
        let serve = web::serve(all, Arc::clone(&self.asker));
        self.serving = Some(self.runtime.spawn(serve));
    }

    /// Serves no more, and begins the last push, of these, for which there is so much time at
    /// most. Its own socket in the file system is gone then.
    pub(super) async fn stop(&mut self, families: Option<Families>, most: Duration) {
        let families = families.map(|families| families.message(&self.asker.origin, time().wall));
        self.last_push = families.and_then(|message| self.pushing.last(message, most));
        let Some(serving) = self.serving.take() else {
            return;
        };
        serving.abort();
        if timeout(END, serving).await.is_err() {
            warn!("the web server does not end; it is left alone");
        }
    }

    /// Waits for the last push.
    pub(super) async fn pushed(&mut self) {
        if let Some(push) = self.last_push.take() {
            // It has a deadline of its own.
            let _ = push.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::Source as _;

    #[tokio::test(start_paused = true)]
    async fn who_asks_while_it_starts_is_told_so() {
        let (asks, mut questions) = mpsc::channel(16);
        let asker = Asker {
            asks,
            origin: Origin {
                resource: Teller::here(None).resource(),
                start: time().wall,
            },
            started: AtomicBool::new(false),
        };
        let early = asker.ready().await;
        assert!(early.is_err_and(|why| why.starts_with("sockpick still starts")));

        let answer = |questions: &mut mpsc::Receiver<Question>| {
            let Ok(Question::Ready(to)) = questions.try_recv() else {
                panic!("nothing was asked");
            };
            to.send(Ok(()))
        };
        assert!(answer(&mut questions).is_err(), "the early one has gone");
        let (told, answered) = tokio::join!(asker.ready(), async { answer(&mut questions) });
        assert_eq!((told, answered), (Ok(()), Ok(())));

        // From now on the web server's own deadline holds.
        let late = timeout(2 * START, asker.ready()).await;
        assert!(late.is_err());
    }
}
