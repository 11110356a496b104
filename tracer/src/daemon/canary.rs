//! A connection of the daemon's own now and then, in a namespace that is made for it: if its SYN
//! is not seen, none is.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, OnceLock, mpsc},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow};
use tokio::{
    sync::oneshot,
    time::{Instant, sleep_until},
};

use crate::{clock::Timer, namespaces};

/// How long a connection may take, and after it its SYN to come up, beside the flush interval.
const PATIENCE: Duration = Duration::from_secs(5);

/// What happens next.
#[derive(Debug)]
pub(super) enum Step {
    /// There is a namespace with this inode number, and nothing happened in it yet.
    Made(u32),
    /// The SYN should have been seen by now.
    Overdue,
    /// No connection could be made, and why.
    Failed(String),
}

enum State {
    Resting(Instant),
    Making(oneshot::Receiver<Result<(u32, mpsc::Sender<()>)>>, Failure),
    /// The namespace is made; the owner of the canary has to say go.
    Ready(mpsc::Sender<()>, Failure),
    Waiting(Instant, Failure),
    Off,
}

/// Why no connection could be made, if so. It is looked at when the SYN is overdue: that a
/// connection was made wakes nobody.
type Failure = Arc<OnceLock<String>>;

/// Makes the connections.
pub(super) struct Canary {
    interval: Option<Duration>,
    patience: Duration,
    state: State,
    timer: Timer,
}

impl Canary {
    /// One connection at each interval; `None`: none. A SYN is read within `flush_interval`.
    #[must_use]
    pub(super) fn new(interval: Option<Duration>, flush_interval: Duration) -> Self {
        let mut canary = Self {
            interval,
            patience: PATIENCE + flush_interval,
            state: State::Off,
            timer: Timer::new(),
        };
        canary.rest();
        canary
    }

    /// From now on at another interval.
    pub(super) fn set_interval(&mut self, interval: Option<Duration>) {
        if self.interval != interval {
            self.interval = interval;
            self.rest();
        }
    }

    /// Begins the wait for the next one, whatever was under way.
    pub(super) fn rest(&mut self) {
        let next = self
            .interval
            .and_then(|after| Instant::now().checked_add(after));
        self.state = next.map_or(State::Off, State::Resting);
    }

    /// Waits for what happens next. Cancelling it loses nothing.
    pub(super) async fn step(&mut self) -> Step {
        loop {
            match &mut self.state {
                State::Off | State::Ready(..) => std::future::pending().await,
                State::Resting(until) => {
                    let left = until.saturating_duration_since(Instant::now());
                    self.timer.sleep(left).await;
                    self.state = begin();
                }
                State::Making(made, _) => {
                    let made = made.await.unwrap_or_else(|_| Err(ended()));
                    let State::Making(_, failure) = std::mem::replace(&mut self.state, State::Off)
                    else {
                        continue;
                    };
                    match made {
                        Ok((netns, go)) => {
                            self.state = State::Ready(go, failure);
                            return Step::Made(netns);
                        }
                        Err(error) => return self.failed(&error),
                    }
                }
                State::Waiting(until, failure) => {
                    sleep_until(*until).await;
                    let failure = failure.get().cloned();
                    self.rest();
                    return failure.map_or(Step::Overdue, Step::Failed);
                }
            }
        }
    }

    fn failed(&mut self, error: &anyhow::Error) -> Step {
        self.rest();
        Step::Failed(format!("{error:#}"))
    }

    /// Connects in the namespace that was made.
    pub(super) fn go(&mut self) {
        self.state = match std::mem::replace(&mut self.state, State::Off) {
            State::Ready(go, failure) => {
                // If the thread is gone, no SYN is seen.
                let _ = go.send(());
                State::Waiting(Instant::now() + PATIENCE + self.patience, failure)
            }
            other => other,
        };
    }

    /// Its SYN was seen. Says whether one was under way.
    pub(super) fn seen(&mut self) -> bool {
        let under_way = matches!(self.state, State::Waiting(..));
        if under_way {
            self.rest();
        }
        under_way
    }
}

fn ended() -> anyhow::Error {
    anyhow!("its thread ended early")
}

/// On a thread of its own, which takes the namespace with it.
fn begin() -> State {
    let (tell, made) = oneshot::channel();
    let (go, wait) = mpsc::channel();
    let failure = Failure::default();
    let told = failure.clone();
    let spawned = thread::Builder::new()
        .name("self-check".to_owned())
        .spawn(move || {
            let private = match namespaces::enter_private() {
                Ok(private) => private,
                Err(error) => {
                    // Nobody asks any more if the daemon ends.
                    let _ = tell.send(Err(error));
                    return;
                }
            };
            if tell.send(Ok((private.inode, go))).is_ok()
                && wait.recv().is_ok()
                && let Err(error) = connect()
            {
                let _ = told.set(format!("{error:#}"));
            }
        });
    // Without a thread the channel is closed, which is told as a failure.
    drop(spawned);
    State::Making(made, failure)
}

/// Connects, and has the connection accepted, so that none dies with its listener.
fn connect() -> Result<()> {
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
        .context("cannot listen in the namespace of the self-check")?;
    let _stream = TcpStream::connect_timeout(&listener.local_addr()?, PATIENCE)
        .context("cannot connect in the namespace of the self-check")?;
    listener.set_nonblocking(true)?;
    // Over loopback the connection is in the queue once connect returns, or a moment later.
    for _ in 0..100 {
        if listener.accept().is_ok() {
            break;
        }
        thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As root on a machine that allows it; elsewhere the failure has to be told.
    #[tokio::test(start_paused = true)]
    async fn a_connection_is_made_and_missed_if_nobody_sees_it() {
        // The kernel's timer does not know of the paused clock.
        let interval = Duration::from_millis(20);
        let mut canary = Canary::new(Some(interval), Duration::ZERO);
        let began = std::time::Instant::now();
        match canary.step().await {
            Step::Made(netns) => assert_ne!(netns, 0),
            Step::Failed(why) => {
                assert!(why.contains("namespace"), "{why}");
                return;
            }
            Step::Overdue => panic!("nothing was sent"),
        }
        assert!(began.elapsed() >= interval);
        canary.go();
        assert!(matches!(canary.step().await, Step::Overdue));
        assert!(matches!(canary.step().await, Step::Made(_)), "and again");
        canary.go();
        assert!(canary.seen());
        assert!(!canary.seen(), "only once");
        assert!(matches!(canary.state, State::Resting(_)));
    }

    #[tokio::test(start_paused = true)]
    async fn none_is_made_where_it_is_off() {
        let mut canary = Canary::new(None, Duration::ZERO);
        let day = tokio::time::timeout(Duration::from_hours(24), canary.step());
        assert!(day.await.is_err());
    }
}
